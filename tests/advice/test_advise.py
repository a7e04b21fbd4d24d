"""Advice as a whole on small data: what is written, what constraints do, and that a stopped race goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from clbench.advice.race import Race
from clbench.advice.scores import score
from clbench.advice.verdict import alike_on_examples
from clbench.cli import main
from clbench.results import find_runs

SMALL = [
    *(
        "--scenario-arg",
        "train=48",
        "--scenario-arg",
        "dev=12",
        "--scenario-arg",
        "test=24",
        "--device",
        "cpu",
        "--epochs",
        "1",
        "-q",
    ),
    *("--strategy", "replay", "--strategy", "ewc", "--strategy", "ncm", "--strategy", "lora_per_task"),
]
LIMITS = ("--keep-data", "no", "--task-known", "no", "--setting", "class", "--max-stored", "300KB")
COMMAND = ["advise", "toy", *SMALL, *LIMITS, "--seeds", "2", "--budget", "2h", "--save-model"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Advice for toy without keeping data or knowing the task, and with at most 300 KB beside the model."""
    place = tmp_path_factory.mktemp("advice")
    assert main([*COMMAND, "-o", str(place)]) == 0
    return place


def advice_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "advice.json").read_text())
    return found


def test_what_is_forbidden_is_excluded_with_the_reason(folder: Path) -> None:
    excluded = advice_in(folder)["excluded"]
    assert excluded["replay"] == "keeps examples of past tasks, which --keep-data no forbids"
    assert "allowed: 293.0 KiB" in excluded["ewc"], "a Fisher and an anchor for each weight"
    assert set(excluded) == {"replay", "ewc", "joint"}


def test_test_is_read_by_finalists_and_references_alone(folder: Path) -> None:
    advice = advice_in(folder)
    runs, skipped = find_runs([folder / "runs"])
    assert not skipped
    tested = {(run.result["strategy"], run.result["seed"]) for run in runs if run.config["eval_split"] == "test"}
    finals = {entry["strategy"]: entry["n"] for entry in advice["candidates"] if entry["stage"] == "final"}
    assert tested == {(name, seed) for name in finals for seed in (0, 1)}
    assert set(finals) >= {*advice["references"], advice["recommended"]}
    assert not set(finals) & {"replay", "ewc"}
    assert advice["references"] == ["naive", "joint", "slda"]
    assert all(run.result["limited"] for run in runs if run.config["eval_split"] == "dev" and run.config["limit"])


def test_the_best_on_test_is_recommended(folder: Path) -> None:
    advice = advice_in(folder)
    allowed = [
        entry
        for entry in advice["candidates"]
        if entry["stage"] == "final" and entry["strategy"] not in advice["excluded"]
    ]
    best = max(allowed, key=lambda entry: entry["mean"])
    assert next(e["mean"] for e in allowed if e["strategy"] == advice["recommended"]) == best["mean"]
    runs, _ = find_runs([folder / "runs"])
    values = [
        run.result["metrics"]["average_accuracy"]
        for run in runs
        if run.result["strategy"] == advice["recommended"] and run.config["eval_split"] == "test"
    ]
    assert best["mean"] == pytest.approx(sum(values) / len(values))
    assert best["low"] <= best["mean"] <= best["high"]


def test_what_each_constraint_costs_is_measured_on_dev(folder: Path) -> None:
    prices = advice_in(folder)["constraints"]["prices"]
    assert set(prices) == {"keep_data", "max_stored", "task_known"}
    assert prices["keep_data"]["strategy"] == "replay"
    assert prices["max_stored"]["strategy"] == "ewc"
    runs, _ = find_runs([folder / "runs"])
    last = [run for run in runs if run.config["eval_split"] == "dev" and run.config["limit"] is None]
    told = max(run.result["metrics"]["average_accuracy"] for run in last if run.config["setting"] == "task")
    last = [run for run in last if run.config["setting"] != "task"]
    assert {price["stage"] for price in prices.values()} == {"race, all data"}
    mean = {run.result["strategy"]: run.result["metrics"]["average_accuracy"] for run in last}
    best = max(mean[name] for name in mean if name not in advice_in(folder)["excluded"])
    assert prices["keep_data"]["loss"] == pytest.approx(max(0.0, mean["replay"] - best))
    assert prices["task_known"]["loss"] == pytest.approx(told - best)
    assert told > best


def test_the_page_says_it_in_words(folder: Path) -> None:
    advice, text = advice_in(folder), (folder / "advice.md").read_text()
    assert text.startswith(f"# Take `{advice['recommended']}`\n")
    assert "Without keeping data you lose" in text
    assert "Without knowing the task you lose" in text
    assert "over 2 seeds" in text
    for name in advice["indistinguishable"]:
        assert f"`{name}`" in text
    assert advice["commands"][0] in text
    assert (folder / "curves.png").exists()
    assert (folder / "tradeoff.png").exists()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"<h1>clbench advises {advice['recommended']}</h1>" in page
    assert 0 < advice["spent_seconds"] < advice["budget_seconds"] == 7200


def test_a_single_seed_is_judged_by_its_test_examples(folder: Path) -> None:
    """A strategy with the very same answers cannot be told from the best, naive in the class setting can."""
    final = {run.result["strategy"]: run for run in find_runs([folder / "runs"])[0]
             if run.config["eval_split"] == "test" and run.result["seed"] == 0}  # fmt: skip
    name = advice_in(folder)["recommended"]
    twin = replace(final[name], result={**final[name].result, "strategy": "twin"})
    race = Race(runs={name: [final[name]], "twin": [twin], "naive": [final["naive"]]})
    best = score(name, race.runs[name], race.runs["naive"], "average_accuracy", "final")
    assert best is not None
    assert alike_on_examples(race, best, ["twin", "naive"], "average_accuracy") == ("twin",)
    assert alike_on_examples(race, best, ["twin"], "forgetting") is None


def test_the_recommended_model_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    advice = advice_in(folder)
    run = Path(advice["model"]).parent
    assert run.parent.name == advice["recommended"]
    capsys.readouterr()
    assert main(["predict", str(run), "--task", "kitchen", "an old apple in the kitchen"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "kitchen"
    assert f"clbench export {run} -o model" in (folder / "advice.md").read_text()


def test_the_same_command_reads_what_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = advice_in(folder)

    def never(*_: Any) -> None:
        raise AssertionError("something was run again")

    monkeypatch.setattr("clbench.engine.engine._run", never)
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == "plotly" else found(name, *more))
    assert main([*COMMAND, "-o", str(folder)]) == 0
    assert advice_in(folder) == before
    printed = capsys.readouterr()
    assert printed.out.startswith("# Take")
    assert "no report.html: the page needs plotly, which is not installed" in printed.err  # the advice stands without


def test_a_race_that_was_stopped_decides_alike(folder: Path, tmp_path: Path) -> None:
    """As it lies when it was killed in the final: a run is not finished, and its time is not counted."""
    place = tmp_path / "advice"
    shutil.copytree(folder, place)
    (place / "advice.json").unlink()
    finals = [run for run in find_runs([place / "runs"])[0] if run.config["eval_split"] == "test"]
    lost = next(run.folder for run in finals if (run.result["strategy"], run.result["seed"]) == ("slda", 1))
    (lost / "result.json").unlink()
    seconds = json.loads((place / "spent.json").read_text())
    del seconds[str(lost.relative_to(place / "runs"))]
    (place / "spent.json").write_text(json.dumps(seconds))
    assert main([*COMMAND, "-o", str(place)]) == 0
    one, other = advice_in(folder), advice_in(place)
    for advice in (one, other):
        del advice["spent_seconds"], advice["commands"], advice["model"]
        for entry in advice["candidates"]:
            del entry["overhead"]
    assert one == other


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--budget", "soon"], "--budget 'soon' is not allowed; allowed: a duration such as 90s"),
        (["--budget", "1s"], "the budget is too small: one seed of the references and a strategy needs about"),
        (["--max-stored", "much"], "--max-stored 'much' is not allowed"),
        (["--keep-data", "maybe"], "--keep-data 'maybe' is not allowed; allowed: yes, no"),
        (["--task-known", "no", "--setting", "task"], "--task-known no contradicts --setting task"),
        (["--metric", "average_acuracy"], "did you mean 'average_accuracy'"),
        (["--seeds", "0"], "--seeds 0 is not allowed; allowed: 1 or more"),
        (["--strategy", "repley"], "did you mean 'replay'"),
        (["--limit", "0"], "limit = 0 is not allowed"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["advise", "toy", *SMALL, *options, "-o", str(tmp_path / "out")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("note", "warning"))]
    assert said in line
    assert (tmp_path / "out").exists() == ("1s" in options), "what is refused before a run leaves nothing behind"


def test_a_file_in_the_folders_place_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("mine")
    assert main(["advise", "toy", *SMALL, "-o", str(tmp_path / "out")]) == 2
    assert "cannot be a folder: File exists" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"
