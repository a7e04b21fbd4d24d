"""`run` and what follows from its results, on tiny toy runs: what stdout and stderr say, and which files appear."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clbench.cli import main

SMALL = ["--epochs", "1", "--scenario-arg", "train=30", "--scenario-arg", "dev=9", "--scenario-arg", "test=15"]
TOY = ["run", "--scenario", "toy", *SMALL]
TWO_BY_TWO = [*TOY, "--strategy", "naive", "--strategy", "replay", "--seed", "0", "--seed", "1"]


class Output(NamedTuple):
    """What a command gave."""

    code: int
    out: str
    err: str


class Terminal(io.StringIO):
    """A stdout that a person looks at."""

    def isatty(self) -> bool:
        return True


def clbench(*arguments: str | Path, stdout: type[io.StringIO] = io.StringIO) -> Output:
    out, err = stdout(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Output(code, out.getvalue(), err.getvalue())


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of two strategies and two seeds are."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def first(results: Path) -> Output:
    """The command that made them."""
    return clbench(*TWO_BY_TWO, "--output-dir", results)


@pytest.fixture(scope="module")
def runs(first: Output, results: Path) -> list[dict[str, Any]]:
    """Their results."""
    assert first.code == 0, first.err
    return [read(path) for path in sorted(results.rglob("result.json"))]


def test_every_strategy_runs_with_every_seed(runs: list[dict[str, Any]]) -> None:
    assert [(run["strategy"], run["seed"]) for run in runs] == [
        ("naive", 0),
        ("naive", 1),
        ("replay", 0),
        ("replay", 1),
    ]


def test_several_runs_end_with_their_comparison_and_its_plots(
    first: Output, runs: list[dict[str, Any]], results: Path
) -> None:
    summaries, comparison = first.out.rsplit("\n\ntoy, task setting, tiny\n", 1)
    for line, run in zip(summaries.splitlines(), runs, strict=True):  # a line a run
        average = f"{run['metrics']['average_accuracy']:.3f}"
        assert line.startswith(f"{run['strategy']}, seed {run['seed']}: average accuracy {average}, forgetting ")
        assert str(results / "toy" / run["strategy"]) in line
    lines = comparison.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith(("naive ", "replay "))] == [
        ["naive", "2"],
        ["replay", "2"],
    ]
    plots = [Path(line.removeprefix("plot: ")) for line in lines if line.startswith("plot: ")]
    assert len(plots) == 2
    assert all(plot.read_bytes().startswith(b"\x89PNG") and plot.is_relative_to(results) for plot in plots)


def test_verbose_prints_each_runs_summary(first: Output, runs: list[dict[str, Any]], results: Path) -> None:
    assert first.code == 0
    summaries = clbench(*TWO_BY_TWO, "--output-dir", results, "-v").out.rsplit("\n\ntoy, task setting, tiny\n", 1)[0]
    for run in runs:
        assert f"{run['strategy']}: toy, task setting, tiny, seed {run['seed']}\n" in summaries
        assert re.search(rf"\naverage accuracy ↑ +{run['metrics']['average_accuracy']:.3f}\n", summaries)


def test_on_a_narrow_terminal_answers_fit_it(
    runs: list[dict[str, Any]], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runs
    wide = {name: clbench(*name, results).out for name in (("compare",), ("list", "runs"))}
    monkeypatch.setenv("COLUMNS", "80")

    def shown(*arguments: str | Path) -> str:
        return clbench(*arguments, stdout=Terminal).out

    narrow = shown("compare", results)
    assert max(map(len, narrow.splitlines())) <= 80
    assert "left out for want of room:" in narrow
    assert shown("compare", results, "--wide") == wide["compare",]
    assert max(map(len, wide["compare",].splitlines())) > 80
    assert shown("compare", results, "--format", "csv").count("trainable_parameters") == 3
    assert max(map(len, shown("list", "strategies").splitlines())) <= 80
    listed = shown("list", "runs", results)
    assert "left out for want of room: strategy; --json gives all" in " ".join(listed.split())
    assert "replay" in wide["list", "runs"].splitlines()[-1].split()


def test_progress_goes_to_stderr_in_plain_lines(first: Output) -> None:
    assert "after station: kitchen" in first.err
    assert "after station: kitchen" not in first.out
    assert not {"\x1b", "\r"} & set(first.out + first.err)


def test_a_finished_run_is_read_and_not_run_again(first: Output, results: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.rglob("result.json")}
    assert before
    again = clbench(*TWO_BY_TWO, "--output-dir", results)
    assert again.out == first.out
    assert again.err.count("finished before") == 4
    assert "after station" not in again.err
    assert {path: path.stat().st_mtime_ns for path in results.rglob("result.json")} == before


def test_overwrite_runs_again(first: Output, tmp_path: Path) -> None:
    assert first.code == 0
    command = [*TOY, "--strategy", "naive", "--output-dir", str(tmp_path)]
    clbench(*command)
    (path,) = tmp_path.rglob("result.json")
    made = path.stat().st_mtime_ns
    again = clbench(*command, "--overwrite")
    assert again.code == 0
    assert "after station" in again.err
    assert path.stat().st_mtime_ns > made


def test_the_same_command_gives_the_same_result(runs: list[dict[str, Any]], tmp_path: Path) -> None:
    assert clbench(*TOY, "--strategy", "replay", "--seed", "1", "--output-dir", tmp_path).code == 0
    (path,) = tmp_path.rglob("result.json")
    other, one = read(path), dict(runs[3])
    assert other.pop("cost")["examples_seen"] == one.pop("cost")["examples_seen"]
    assert other == one


def test_dry_run_prints_the_plan_and_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = clbench(*TOY, "--strategy", "replay(memory_size=7)", "--strategy", "naive", "--dry-run")
    assert done.code == 0
    told = sorted(line.partition(" = weights ")[0].rpartition(": ")[0] for line in done.err.splitlines())
    what = "estimate of a training step's memory"
    assert told == [f"note: naive: {what}", f"note: replay(memory_size=7): {what}"]
    assert list(tmp_path.iterdir()) == []
    folder, plan = done.out.split("\n", 1)
    assert folder.startswith("results/toy/replay")
    values, _ = json.JSONDecoder().raw_decode(plan)
    assert values["strategy"] == "replay(memory_size=7)"
    assert values["scenario_args"] == {"train": 30, "dev": 9, "test": 15}


def test_quiet_process_says_nothing_but_the_answer(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clbench", *TOY, "--strategy", "naive", "-q"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    # So few texts teach nothing, which is told even so.
    assert [line for line in done.stderr.splitlines() if " was not learned: " not in line] == []
    assert done.stdout.startswith("naive: toy, task setting, tiny, seed 0\n")
    (folder,) = (path.parent for path in tmp_path.glob("results/toy/naive/*/result.json"))
    assert done.stdout.endswith(f"run folder: {folder.relative_to(tmp_path)}\n\n")
    assert not (folder / "checkpoint").exists()


def test_command_line_wins_over_the_config_file(tmp_path: Path) -> None:
    settings = "scenario: toy\nstrategy: naive\nseed: 5\nepochs: 3\nbatch_size: 8\nscenario_args: {train: 60, dev: 9}\n"
    (tmp_path / "mine.yaml").write_text(settings)
    done = clbench(
        "run", "--config", tmp_path / "mine.yaml", "--epochs", "1", "--scenario-arg", "train=30", "--dry-run"
    )
    values = json.loads(done.out.split("\n", 1)[1])
    wanted = {"seed": 5, "epochs": 1, "batch_size": 8, "scenario_args": {"train": 30, "dev": 9}}
    assert {key: values[key] for key in wanted} == wanted


def test_training_settings_of_the_command_line_are_in_the_plan() -> None:
    options = ["--optimizer", "sgd", "--momentum", "0.9", "--optimizer-state", "carried", "--schedule", "constant"]
    options += ["--warmup", "0", "--steps", "7"]
    options += ["--max-grad-norm", "inf", "--weight-decay", "0"]
    done = clbench("run", "--scenario", "toy", "--strategy", "naive", *options, "--dry-run")
    values = json.loads(done.out.split("\n", 1)[1])
    wanted = {"optimizer": "sgd", "momentum": 0.9, "optimizer_state": "carried", "schedule": "constant", "warmup": 0.0}
    wanted |= {"task_steps": 7, "max_grad_norm": "inf", "weight_decay": 0.0}
    assert {key: values[key] for key in wanted} == wanted


def test_a_failed_run_gives_1_and_does_not_stop_the_others(tmp_path: Path) -> None:
    source = (
        '"""The loss is not a number."""\nfrom clbench.strategy import Strategy\n\n'
        "class Broken(Strategy):\n    def loss(self, learner, batch, logits):\n"
        "        return logits.sum() * float('nan')\n"
    )
    (tmp_path / "broken.py").write_text(source)
    done = clbench(*TOY, "--strategy", tmp_path / "broken.py", "--strategy", "naive", "--output-dir", tmp_path, "-q")
    assert done.code == 1
    assert done.err.startswith("error: broken, seed 0: ")
    assert [line for line in done.err.splitlines()[1:] if " was not learned: " not in line] == []
    assert done.out.startswith("naive, seed 0: average accuracy ")


def test_compare_in_every_format(runs: list[dict[str, Any]], results: Path) -> None:
    mean = sum(run["metrics"]["average_accuracy"] for run in runs[:2]) / 2
    answers = {name: clbench("compare", results, "--format", name) for name in ("table", "markdown", "latex")}
    assert all((answer.code, answer.err) == (0, "") for answer in answers.values())
    assert answers["table"].out == clbench("compare", results).out
    for answer in answers.values():
        assert f"{mean:.3f}" in answer.out
    assert "\n| naive | 2 |" in answers["markdown"].out
    assert r"\begin{tabular}" in answers["latex"].out

    rows = list(csv.DictReader(io.StringIO(clbench("compare", results, "--format", "csv").out)))
    assert [(row["strategy"], row["seeds"]) for row in rows] == [("naive", "0 1"), ("replay", "0 1")]
    assert float(rows[0]["average_accuracy_mean"]) == pytest.approx(mean)
    json.loads(clbench("compare", results, "--format", "json").out)
    chosen = clbench("compare", results, "--metric", "forgetting", "--metric", "wall_seconds", "--format", "csv").out
    assert "forgetting_mean" in chosen
    assert "average_accuracy" not in chosen


def test_compare_takes_single_runs(runs: list[dict[str, Any]], results: Path) -> None:
    assert runs
    paths = sorted(results.rglob("result.json"))
    rows = list(csv.DictReader(io.StringIO(clbench("compare", paths[0], paths[1].parent, "--format", "csv").out)))
    assert [(row["strategy"], row["seeds"]) for row in rows] == [("naive", "0 1")]


@pytest.mark.parametrize(("metric", "format"), [("average_acuracy", "table"), ("forgetting", "tabel")])
def test_compare_refuses_unknown_names(runs: list[dict[str, Any]], results: Path, metric: str, format: str) -> None:
    assert runs
    done = clbench("compare", results, "--metric", metric, "--format", format)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    right = {"average_acuracy": "average_accuracy", "tabel": "table"}
    wrong = metric if format == "table" else format
    assert f"'{wrong}'; did you mean '{right[wrong]}'?" in done.err


@pytest.mark.parametrize(
    ("kind", "suffix", "start"),
    [("curves", "png", b"\x89PNG"), ("matrix", "pdf", b"%PDF"), ("tradeoff", "svg", b"<?xml")],
)
def test_plot_writes_the_picture_and_says_where(
    runs: list[dict[str, Any]], results: Path, tmp_path: Path, kind: str, suffix: str, start: bytes
) -> None:
    assert runs
    path = tmp_path / f"picture.{suffix}"
    assert clbench("plot", kind, results, "-o", path) == (0, f"{path}\n", "")
    assert path.read_bytes().startswith(start)


def test_plot_refuses_a_file_that_it_cannot_write(runs: list[dict[str, Any]], results: Path, tmp_path: Path) -> None:
    assert runs
    for path in (tmp_path / "picture.gfi", tmp_path / "gone" / "picture.png"):
        done = clbench("plot", "curves", results, "-o", path)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert str(path) in done.err


def test_resume_of_a_run_made_with_overwrite_reads_it(tmp_path: Path) -> None:
    assert clbench(*TOY, "--strategy", "naive", "--overwrite", "--output-dir", tmp_path, "-q").code == 0
    (result,) = tmp_path.rglob("result.json")
    before = result.stat().st_mtime_ns
    assert clbench("resume", result.parent, "-q").code == 0
    assert result.stat().st_mtime_ns == before


def test_list_runs(runs: list[dict[str, Any]], results: Path, tmp_path: Path) -> None:
    rows = json.loads(clbench("list", "runs", results, "--json").out)
    assert [(row["strategy"], row["seed"]) for row in rows] == [(run["strategy"], run["seed"]) for run in runs]
    assert [row["average_accuracy"] for row in rows] == [run["metrics"]["average_accuracy"] for run in runs]
    assert clbench("list", "runs", tmp_path) == (0, "no runs\n", "")
    (tmp_path / "config.json").write_text('{"hash8": "00000000"}')
    assert clbench("list", "runs", tmp_path) == (
        0,
        "no runs\n",
        f"skipped: {tmp_path}: not finished; go on with: clbench resume {tmp_path}\n",
    )


def test_resume_of_a_finished_run_prints_it_and_of_a_changed_one_is_refused(
    runs: list[dict[str, Any]], results: Path
) -> None:
    path = min(results.rglob("result.json"))
    done = clbench("resume", path.parent, "-q")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"naive: toy, task setting, tiny, seed {runs[0]['seed']}\n")
    config = path.with_name("config.json")
    original = config.read_text(encoding="utf-8")
    try:
        config.write_text(json.dumps({**json.loads(original), "hash8": "00000000"}), encoding="utf-8")
        refused = clbench("resume", path.parent)
    finally:
        config.write_text(original, encoding="utf-8")
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert "config.json: was edited" in refused.err
