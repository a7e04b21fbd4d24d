"""A run that is killed at any moment and started again ends like one that was left alone, bit for bit."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from benchmarks.cases import STACKS, Case, cases, differences
from benchmarks.contents import CHANGES, prove_contents
from benchmarks.kills import (
    CHANGE,
    FORKED_MOMENTS,
    FRESH_MOMENTS,
    Moment,
    only_folder,
    prove,
    run_killed,
    run_to_end,
)
from benchmarks.processes import start_forked, start_fresh
from benchmarks.sweeps import prove_sweep
from clbench.cli import main
from clbench.engine import engine
from clbench.results.folder import RunFolder

STACK = Case("toy", STACKS[2])
DIGITS = Case("digits_seq", "replay+distillation")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """STACK, never interrupted."""
    return run_to_end(STACK, tmp_path_factory.mktemp("alone"))


# Changes before which a process leaves each of the states in between, as long as a run makes as many before them.
LIKELY = (32, 37, 38)


def moments(*events: str) -> list[Moment]:
    return [moment for moment in FORKED_MOMENTS if moment.event in events]


def test_a_run_killed_three_times_ends_like_an_uninterrupted_one(alone: RunFolder, tmp_path: Path) -> None:
    # The second kill finds a filled memory and a Fisher, the third one a task in progress or done.
    chosen = [Moment("log.jsonl", 0.05), Moment("line: after station", 0.1), Moment("predictions.parquet", 0.004)]
    kills = run_killed(STACK, tmp_path, chosen, seed=0)
    assert [kill.too_late for kill in kills] == [False] * 3, kills
    assert differences(alone, run_to_end(STACK, tmp_path)) == []


@pytest.mark.slow
def test_so_does_a_run_on_images_killed_between_changes_of_files(tmp_path: Path) -> None:
    proof = prove(DIGITS, tmp_path, [CHANGE] * 2, seed=0)
    assert [kill.too_late for kill in proof.kills] == [False] * 2, proof.kills
    assert proof.differences == []


def test_a_checkpoint_is_whole_whichever_of_its_changes_the_process_dies_before(
    alone: RunFolder, tmp_path: Path
) -> None:
    wanted = [{"checkpoint", "checkpoint.new"}, {"checkpoint.new", "checkpoint.old"}, {"checkpoint", "checkpoint.old"}]
    numbers = sorted(range(30, 60), key=lambda number: number not in LIKELY)
    for number in numbers:  # the process dies before the number-th change it makes
        output = tmp_path / str(number)
        assert start_forked(STACK.arguments(output), output / "logs", number).wait() == -signal.SIGKILL
        folder = only_folder(output)
        assert folder is not None
        if (left := {path.name for path in folder.path.glob("checkpoint*")}) in wanted:
            wanted.remove(left)
            assert differences(alone, run_to_end(STACK, output)) == [], left
        if not wanted:
            return
    pytest.fail(f"no death left {wanted}")


@pytest.mark.slow
def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path: Path) -> None:
    for number in range(5, 16):
        process = start_forked(STACK.arguments(tmp_path), tmp_path / "logs", number)
        assert process.wait() == -signal.SIGKILL
        if list(tmp_path.glob("*/*/*/.clbench-*.tmp")):
            break
    else:
        pytest.fail("no death left a temporary file behind")
    folder = run_to_end(STACK, tmp_path)
    assert not list(folder.path.glob(".clbench-*"))


def test_a_kill_between_the_result_and_the_end_leaves_a_finished_run(tmp_path: Path) -> None:
    kills = run_killed(STACK, tmp_path, moments("result.json"), seed=1)
    assert [kill.landed for kill in kills] == ["after result.json"]
    folder = only_folder(tmp_path)
    assert folder is not None
    for suffix in ("", ".old", ".new"):  # as where the kill came before they were removed
        folder.checkpoint.with_suffix(suffix).mkdir(exist_ok=True)
    before = (folder.path / "result.json").read_bytes()
    run_to_end(STACK, tmp_path)
    assert (folder.path / "result.json").read_bytes() == before
    assert not list(folder.path.glob("checkpoint*"))
    assert (folder.path / "matrix.png").exists()


@pytest.mark.parametrize(("number", "code", "command"), [(signal.SIGTERM, 143, "run"), (signal.SIGINT, 130, "resume")])
def test_a_signal_saves_the_state_and_says_how_to_go_on(
    number: signal.Signals, code: int, command: str, alone: RunFolder, tmp_path: Path
) -> None:
    process = start_forked(STACK.arguments(tmp_path), tmp_path / "logs")
    assert process.wait(lambda: "after kitchen" in process.stderr()) is None
    process.send(number)
    assert process.wait() == code
    folder = only_folder(tmp_path)
    assert folder is not None
    last = process.stderr().splitlines()[-1]
    assert f"python -m clbench resume {folder.path}" in last
    assert (folder.checkpoint / "manifest.json").exists()
    assert folder.read_result() is None
    arguments = STACK.arguments(tmp_path) if command == "run" else ["resume", str(folder.path)]
    again = start_forked(arguments, tmp_path / "logs")
    assert again.wait() == 0
    assert "resuming" in again.stderr()
    assert differences(alone, folder) == []


def test_what_the_comparison_of_two_runs_would_notice(alone: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(alone.path, tmp_path / "copy")
    other = RunFolder(tmp_path / "copy")
    assert differences(alone, other) == []
    predictions = other.read_predictions()
    predictions["confidence"][3] += 1e-6
    other.write_predictions(predictions)
    result = json.loads((other.path / "result.json").read_text())
    result["cost"]["examples_seen"] += 1
    result.pop("predictions_sha256", None)
    (other.path / "result.json").write_text(json.dumps(result))
    other.checkpoint.mkdir()
    found = differences(alone, other)
    assert {"cost.examples_seen", "predictions: confidence", "file: checkpoint"} <= set(found)
    assert not {"accuracy_matrix", "metrics", "predictions: label", "log.jsonl"} & set(found)
    other.append_log({"event": "row", "after_task": 3})
    assert "log.jsonl" in differences(alone, other)


def test_a_row_that_was_logged_before_the_checkpoint_is_logged_once(
    alone: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between the two; an error of its own is told in the log, and stays."""

    def die_after_the_first_task(job: engine.Job, asked: int | None) -> None:
        if job.state.rows == 2 and job.state.training is None:
            raise OSError("the machine is gone")
        save_and_stop(job, asked)

    save_and_stop = engine._save_and_stop_if_asked
    monkeypatch.setattr(engine, "_save_and_stop_if_asked", die_after_the_first_task)
    assert main(STACK.arguments(tmp_path)) == 1
    monkeypatch.undo()
    assert main(STACK.arguments(tmp_path)) == 0
    folder = only_folder(tmp_path)
    assert folder is not None
    lines = (folder.path / "log.jsonl").read_text().splitlines()
    failed = [line for line in lines if "the machine is gone" in line]
    assert len(failed) == 1
    (folder.path / "log.jsonl").write_text("".join(f"{line}\n" for line in lines if line not in failed))
    assert differences(alone, folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(cases())))
def test_every_strategy_survives_kills_of_a_fresh_interpreter(number: int, tmp_path: Path) -> None:
    first = number % 3
    proof = prove(cases()[number], tmp_path, FRESH_MOMENTS[first::3], number, start_fresh)
    assert proof.differences == [], proof.kills


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(cases())))
def test_every_strategy_survives_deaths_between_changes_of_files(number: int, tmp_path: Path) -> None:
    proof = prove(cases()[number], tmp_path, [CHANGE] * 5, number)
    assert proof.differences == [], proof.kills


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_other_contents_are_another_run_whenever_they_come(change: str, tmp_path: Path) -> None:
    assert prove_contents(tmp_path, change, seed=1).differences == []


@pytest.mark.slow
def test_a_sweep_that_is_interrupted_again_and_again_ends_like_one_left_alone(tmp_path: Path) -> None:
    proof = prove_sweep(tmp_path / "sweep", 6, seed=1)
    assert (proof.runs, proof.differences) == (4, [])
    assert proof.signals
