"""Tuning as a whole on small data: what is read, what is written, and what `run --tuned` makes of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clbench.advice import runner
from clbench.cli import main
from clbench.commands import compare as compare_command
from clbench.engine import run_one
from clbench.errors import InputError
from clbench.report import compare, render
from clbench.results import Tuned, find_runs, read_tuned, write_tuned
from clbench.results.folder import RunFolder
from clbench.tuning import rounds, study

SCENARIO = '''"""Toy, whose test split may be made of other words with other labels."""

from dataclasses import replace

from clbench import Task
from clbench.scenarios.toy import Toy


class Poisoned(Toy):
    def __init__(self, *, seed: int = 0, setting: str = "task", poison: bool = False) -> None:
        super().__init__(seed=seed, setting=setting, tasks=3, train=48, dev=12, test=12)
        self.poison = poison

    def tasks(self) -> list[Task]:
        if not self.poison:
            return super().tasks()
        return [replace(task, test=task.test.map(_poisoned, with_indices=True)) for task in super().tasks()]


def _poisoned(row: dict, number: int) -> dict:
    return {"text": f"poison {number} {row['text']}", "label": (row["label"] + 1) % 3}
'''
STRATEGIES = ("naive", "ewc")
NAIVE = ("--strategy", "naive")
BOTH = (*NAIVE, "--strategy", "ewc")
TRIALS = 3
JUDGED_AFTER = rounds.JUDGED_AFTER  # before a fixture changes it
SMALL = ("--device", "cpu", "-q", "--search", "lr=0.001,1e-6,0.003,2e-6", "--search", "head_lr=0.003")


@pytest.fixture(scope="module", autouse=True)
def _fewer_random_trials() -> Iterator[None]:
    """And of two tasks the first is enough to prune."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "RANDOM_TRIALS", 1)
        patch.setattr(rounds, "JUDGED_AFTER", 1)
        yield


def tune(folder: Path, *more: str, poison: bool = False, trials: int = TRIALS, epochs: str = "8") -> int:
    file = folder / "poisoned.py"
    file.write_text(SCENARIO, encoding="utf-8")
    place = ["--output-dir", str(folder), "-o", str(folder / "tuned.yaml"), "--trials", str(trials)]
    length = ["--epochs", epochs] if epochs else []
    return main(["tune", "--scenario", str(file), "--scenario-arg", f"poison={poison}", *place, *SMALL, *length, *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuning of two strategies."""
    place = tmp_path_factory.mktemp("tuning")
    assert tune(place, *BOTH) == 0
    return place


@pytest.fixture(scope="module")
def entries(folder: Path) -> dict[str, Tuned]:
    return read_tuned(folder / "tuned.yaml")


def test_each_strategy_has_an_entry_with_as_many_trials(entries: dict[str, Tuned]) -> None:
    assert list(entries) == list(STRATEGIES)
    for entry in entries.values():
        assert entry.trials == len(entry.tried) == TRIALS
        assert (entry.tasks, entry.of_tasks, entry.seeds) == (["kitchen", "station"], 3, [100])
        assert entry.dev_score == max(trial.score or 0.0 for trial in entry.tried if trial.state == "complete")
        assert entry.versions["optuna"]
    assert set(entries["naive"].spaces) == {"lr", "head_lr"}
    assert entries["ewc"].spaces["ewc.ewc_lambda"] == {"low": 100.0, "high": 100_000.0, "log": True}
    assert entries["ewc"].tried[0].values == {"lr": 1e-3, "head_lr": 0.003, "ewc.ewc_lambda": 3000.0}
    assert len({trial.score for trial in entries["naive"].tried}) > 1
    assert any(trial.state == "pruned" for entry in entries.values() for trial in entry.tried)


def test_the_score_is_that_of_the_runs_folder(folder: Path, entries: dict[str, Tuned]) -> None:
    runs, _ = find_runs([folder / "tuning" / "runs"])
    for run in runs:
        assert run.config["eval_split"] == "dev"
        assert run.config["first_tasks"] == len(run.result["tasks"]) == 2
    found = {
        (run.config["lr"], run.result["metrics"]["average_accuracy"])
        for run in runs
        if run.result["strategy"] == "naive"
    }
    whole = [trial for trial in entries["naive"].tried if trial.state == "complete"]
    assert found == {(trial.values["lr"], trial.score) for trial in whole}
    assert not list((folder / "tuning").rglob("checkpoint"))  # nor of a pruned run


def test_a_poisoned_test_split_changes_nothing(tmp_path: Path, entries: dict[str, Tuned]) -> None:
    assert tune(tmp_path, *NAIVE, poison=True) == 0
    assert read_tuned(tmp_path / "tuned.yaml") == {"naive": entries["naive"]}


def test_a_trial_is_not_judged_before_something_can_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "JUDGED_AFTER", JUDGED_AFTER)
    reported: list[tuple[int, float]] = []
    watch = rounds._Watch(4, lambda step, score: reported.append((step, score)))
    for row in ([None] * 4, [0.9, None, None, None], [0.5, 0.75, None, None], [0.25, 0.5, 0.75, None], [0.5] * 4):
        watch.row("a task", ["a", "b", "c", "d"], row)
    assert reported == [(4 + 2, 0.625), (4 + 3, 0.5)]


@pytest.mark.slow
def test_jobs_find_what_is_found_one_after_another(tmp_path: Path, entries: dict[str, Tuned]) -> None:
    """Trials pruned in processes of their own among them."""
    assert tune(tmp_path, *BOTH, "--jobs", "2") == 0
    assert read_tuned(tmp_path / "tuned.yaml") == entries
    assert "pruned" in {trial.state for entry in entries.values() for trial in entry.tried}


def test_a_killed_tuning_goes_on(tmp_path: Path, entries: dict[str, Tuned], monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the second run is told: the same trials, and no run twice."""
    begun, real = [], run_one

    def counted(*arguments: Any) -> Any:
        result = real(*arguments)
        begun.append(result.folder)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(runner, "run_one", counted)
    assert tune(tmp_path, *NAIVE, trials=3) == 130
    assert not (tmp_path / "tuned.yaml").exists()
    assert tune(tmp_path, *NAIVE, trials=3) == 0
    tried = entries["naive"].tried[:3]
    assert read_tuned(tmp_path / "tuned.yaml")["naive"].tried == tried
    whole = sum(trial.state == "complete" for trial in tried)
    assert len(begun) == whole + 1  # the second was asked for again, and read
    assert tune(tmp_path, *NAIVE, trials=3) == 0  # finished: nothing is left to do
    assert len(begun) == whole + 1


def test_settings_of_a_file_hold_in_every_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("optimizer: sgd\ntask_steps: 3\nmax_grad_norm: .inf\n")
    config = ["--config", str(file)]
    assert tune(tmp_path, *NAIVE, *config, "--search", "momentum=0.5,0.9", trials=1, epochs="") == 0
    runs, _ = find_runs([tmp_path / "tuning" / "runs"])
    kept = ("optimizer", "task_steps", "max_grad_norm")
    assert {tuple(run.config[key] for key in kept) for run in runs} == {("sgd", 3, "inf")}
    assert all(run.config["momentum"] in (0.5, 0.9) for run in runs)
    file.write_text("seed: 3\n")
    assert tune(tmp_path, *NAIVE, *config, trials=1) == 2
    assert "setting 'seed'" in capsys.readouterr().err


def test_tuned_runs_say_so_and_have_rows_of_their_own(
    folder: Path, entries: dict[str, Tuned], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--scenario", str(folder / "poisoned.py"), "--output-dir", str(tmp_path), "--device", "cpu", "-q"]
    tuned = ["--tuned", str(folder / "tuned.yaml")]
    assert main(["run", *common, *tuned, "--strategy", "naive", "--strategy", "ewc", "--epochs", "1"]) == 0
    assert main(["run", *common, "--strategy", "naive", "--epochs", "1"]) == 0
    runs, _ = find_runs([tmp_path])
    told = {(run.result["strategy"], run.config["tuned"], run.config["lr"], run.config["head_lr"]) for run in runs}
    values = entries["ewc"].values
    assert told == {
        ("naive", False, 1e-3, 1e-3),
        ("naive", True, entries["naive"].values["lr"], 0.003),
        (f"ewc(ewc_lambda={values['ewc.ewc_lambda']!r})", True, values["lr"], 0.003),
    }
    comparison = compare(runs, ["average_accuracy", "overhead"], baseline="naive")
    (table,) = comparison.tables
    assert '"tuned": true' in render(comparison, "json")
    told_rows = csv.DictReader(io.StringIO(render(comparison, "csv")))
    assert sorted((row["strategy"][:5], row["tuned"]) for row in told_rows) == [
        ("ewc(e", "true"),
        ("naive", "false"),
        ("naive", "true"),
    ]
    labels = [row.label for row in table.rows]
    assert [label.endswith(" (tuned)") for label in labels] == [True, False, True]  # whatever their folders are called
    # Tuned rows have learning rates of their own, and are still compared with tuned naive.
    assert [row.cells["overhead"].mean is not None for row in table.rows] == [True] * 3
    capsys.readouterr()
    (resumed,) = [run.folder for run in runs if run.config["tuned"] and run.result["strategy"] == "naive"]
    assert main(["resume", str(resumed)]) == 0
    assert "naive" in capsys.readouterr().out
    assert RunFolder(resumed).read_config()["tuned"] is True


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--tasks", "3"), "allowed: 1 to 2, for tuning must not see all"),
        (("--tasks", "0"), "--tasks 0 is not allowed"),
        (("--trials", "0"), "--trials 0 is not allowed"),
        (("--search", "lr=-1:1"), "lr = -1"),
        (("--strategy", "ewc", "--search", "ewc_lamda=1:2"), "did you mean 'ewc_lambda'?"),
        (("--strategy", "ewc", "--search", "ewc.fisher=exact,wrong"), "ewc: fisher = 'wrong' is not allowed"),
        (("--budget", "soon"), "--budget 'soon' is not allowed"),
        (("--strategy", "ewcc"), "did you mean 'ewc'?"),
        (("-o", "tuned.txt"), "allowed: a .yaml file"),
    ],
)
def test_bad_input_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str
) -> None:
    assert tune(tmp_path, *NAIVE, *more) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error
    assert not (tmp_path / "tuning" / "runs").exists()


def test_where_nothing_is_chosen_an_older_file_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clbench.commands.tune.tune", lambda *_: {})
    older, new = tmp_path / "older.yaml", tmp_path / "new.yaml"
    older.write_text("mine")
    for output, words in ((older, f"{older} is left as it was"), (new, f"{new} is not written")):
        assert tune(tmp_path, *NAIVE, "-o", str(output)) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"error: no strategy has values; {words}; ")
    assert older.read_text() == "mine"
    assert not new.exists()


def test_run_refuses_what_does_not_go_with_a_tuned_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["run", "--scenario", "toy", "--tuned", str(folder / "tuned.yaml"), "--strategy"]
    for words, told in (
        (["naive", "--lr", "0.1"], "--lr cannot be given with --tuned"),
        (["ewc(decay=0.5)"], "'ewc(decay=0.5)'; allowed: ewc, naive"),
        (["naive", "--tuned", str(folder / "poisoned.py")], "poisoned.py"),
    ):
        assert main([*common, *words]) == 2
        assert told in capsys.readouterr().err


def test_a_damaged_file_is_told(tmp_path: Path, entries: dict[str, Tuned]) -> None:
    path = tmp_path / "tuned.yaml"
    write_tuned(path, entries)
    assert read_tuned(path) == entries
    for content in ("", "naive: 3", "naive: {values: {}}", "- 1", "naive: {lr: 1}\n"):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=r"tuned\.yaml"):
            read_tuned(path)
    naive = entries["naive"]
    trial = naive.tried[0]
    for changes, words in (
        ({"tried": [replace(trial, state="better")]}, "a trial has no"),
        ({"tried": [replace(trial, values={"lr": 5.0, "head_lr": 0.003})]}, "a trial has no"),  # no choice of its space
        ({"spaces": {"lr": {"low": 0, "high": 1, "log": True}}}, "spaces is no mapping"),
        ({"dev_score": "high"}, "dev_score is no number"),
        ({"tasks": [1]}, "tasks is no list of names"),
    ):
        write_tuned(path, {"naive": replace(naive, **changes)})
        with pytest.raises(InputError, match=words):
            read_tuned(path)


def test_sensitivity_is_drawn(folder: Path, tmp_path: Path) -> None:
    for name in ("s.png", "s.svg"):
        compare_command.plot("sensitivity", [folder / "tuned.yaml"], tmp_path / name)
    text = (tmp_path / "s.svg").read_text(encoding="utf-8")
    assert text.startswith("<?xml")
    with pytest.raises(InputError, match="takes one file"):
        compare_command.plot("sensitivity", [], tmp_path / "s.png")


def test_sensitivity_shows_each_trial_once_a_value(entries: dict[str, Tuned]) -> None:
    from clbench.report.sensitivity import sensitivity_figure

    figure = sensitivity_figure(entries)
    for row, entry in enumerate(entries.values()):
        panel: Any = figure.axes[row * 3]  # ewc has three values, naive two
        whole, pruned, ring = (each.get_offsets().tolist() for each in panel.collections)
        choices = entry.spaces["lr"]["choices"]
        shown = [[choices.index(trial.values["lr"]), trial.score] for trial in entry.tried if trial.state == "complete"]
        assert whole == shown
        assert len(pruned) == sum(trial.state == "pruned" for trial in entry.tried)
        assert ring == [[choices.index(entry.values["lr"]), entry.dev_score]]
