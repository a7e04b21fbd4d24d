"""`run --jobs` and `run --part`: the same results as one after another, whatever happens to one of the runs."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from clbench import engine
from clbench.cli import main
from clbench.commands.board import Board
from clbench.plugins import make_plan
from clbench.results import find_runs
from tests.helpers import ROOT

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals as on Linux")
SMALL = [
    *("run", "--scenario", "toy", "--epochs", "1", "--lr", "5e-3", "--head-lr", "5e-2", "--device", "cpu"),
    *("--scenario-arg", "train=30", "--scenario-arg", "dev=9", "--scenario-arg", "test=15"),
]
TOY = {
    **{"scenario": "toy", "epochs": 1, "lr": 5e-3, "head_lr": 5e-2, "device": "cpu"},
    "scenario_args": {"train": 30, "dev": 9, "test": 15},
}
KILLED = '''"""Kills its process after its second task, when a file beside it says so."""
import os, signal
from pathlib import Path
from clbench import Strategy

class Killed(Strategy):
    def after_task(self, learner, task):
        if task.position == 1 and Path(__file__).with_name("kill").exists():
            os.kill(os.getpid(), signal.SIGKILL)
'''


def predictions(folder: Path) -> dict[str, bytes]:
    """The predictions of each finished run under ``folder``, by its place there."""
    runs, _ = find_runs([folder])
    return {str(run.folder.relative_to(folder)): (run.folder / "predictions.parquet").read_bytes() for run in runs}


@linux
def test_jobs_give_the_bits_of_one_after_another_and_a_killed_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    (tmp_path / "kill").touch()
    names = ["ewc(fisher_samples=4)", str(tmp_path / "killed.py")]
    command = [*SMALL, "--strategy", names[0], "--strategy", names[1], "-q"]
    assert main([*command, "--output-dir", str(tmp_path / "jobs"), "--jobs", "2"]) == 1
    out, err = capsys.readouterr()
    assert re.fullmatch(r"ewc\(fisher_samples=4\), seed 0: average accuracy .*\n", out)
    (line,) = [line for line in err.splitlines() if not line.startswith("warning")]
    assert line.startswith("error: killed, seed 0: its process was ended by SIGKILL")
    (tmp_path / "kill").unlink()
    for name in names:  # here, in this process: what was finished is read, the other goes on
        engine.run(make_plan({**TOY, "strategy": name, "output_dir": str(tmp_path / "jobs")}), engine.Reporter())
        engine.run(make_plan({**TOY, "strategy": name, "output_dir": str(tmp_path / "alone")}), engine.Reporter())
    found = predictions(tmp_path / "jobs")
    assert len(found) == 2
    assert found == predictions(tmp_path / "alone")
    config = json.loads(next((tmp_path / "jobs").rglob("ewc*/*/config.json")).read_text())
    assert config["device"] == "cpu"


def test_a_part_runs_its_own_runs_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*SMALL, "--strategy", "naive", "--strategy", "ewc", "--seed", "0-2", "--output-dir", str(tmp_path)]
    taken = []
    for number in (1, 2, 3, 4):
        assert main([*command, "--dry-run", "--part", f"{number}/4"]) == 0
        taken.append(re.findall(r"/(naive|ewc)/tiny-s(\d)", capsys.readouterr().out))
    naive, ewc = ([(name, str(seed)) for seed in range(3)] for name in ("naive", "ewc"))
    assert taken == [[naive[0], ewc[1]], [naive[1], ewc[2]], [naive[2]], [ewc[0]]]
    assert main([*command, "--part", "7/7"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", "nothing to run in part 7/7 of 6 runs\n")
    assert main([*command, "--part", "8/7"]) == 2
    assert (
        capsys.readouterr().err == "error: --part '8/7' is not allowed; allowed: K/N with K from 1 to N, such as 3/16\n"
    )


def test_what_jobs_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*SMALL, "--strategy", "naive", "--output-dir", str(tmp_path)]
    assert main([*command, "--jobs", "many"]) == 2
    assert capsys.readouterr().err == "error: --jobs 'many' is not allowed; allowed: auto, or a number from 1 to 4096\n"
    assert main([*command, "--jobs-per-gpu", "2", "--dry-run"]) == 2
    assert "--jobs-per-gpu 2: these runs go on the CPU" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_table_shows_what_runs_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Board(0, 3) as board:
        with board.on_board("naive, seed 0"):
            pass
        with board.on_board("ewc[bold], seed 1") as run:
            run.start_task("kitchen 1/3", 20)
            run.step(10, 80, 0.25)
            run.warn("look at this")
            board._live.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "1 of 3 runs done" in shown
    assert re.search(r"ewc\[bold\], seed 1 +kitchen 1/3 +10/20 +0\.250 +0:00", shown)
    assert "warning: ewc[bold], seed 1: look at this\n" in shown


def test_without_a_terminal_there_are_warnings_and_each_note_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Board(0, 2) as board:
        for name in ("naive", "ewc"):
            with board.on_board(name) as run:
                run.say("resuming")
                run.note("texts were left out")
                run.start_task("kitchen 1/3", 20)
                run.row("after kitchen", ["kitchen"], [0.5])
        run.warn("forgotten")
    assert capsys.readouterr().err == "note: texts were left out\nwarning: ewc: forgotten\n"


def _start(command: list[str], folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", "clbench", *command, "--output-dir", str(folder)]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@linux
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_all_runs_and_the_same_command_goes_on(
    number: signal.Signals, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strategies = ("naive", "replay", "ewc", "distillation")
    command = [*SMALL, "--batch-size", "2", "--checkpoint-every", "5"]
    command += [word for name in strategies for word in ("--strategy", name)]
    process = _start([*command, "--jobs", "2"], tmp_path / "jobs")
    while not (saved := list((tmp_path / "jobs").rglob("checkpoint/manifest.json"))):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert re.search(r"^error: stopped; \d of 4 runs are finished; give the same command again", err, re.MULTILINE)
    assert "Traceback" not in err
    assert saved
    assert list((tmp_path / "jobs").rglob("checkpoint/manifest.json"))
    again = _start([*command, "--jobs", "2", "-v"], tmp_path / "jobs")
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert "resuming" in err
    assert main([*command, "-q", "--output-dir", str(tmp_path / "alone")]) == 0
    capsys.readouterr()
    found = predictions(tmp_path / "jobs")
    assert len(found) == 4
    assert found == predictions(tmp_path / "alone")


@pytest.mark.slow
@linux
def test_the_second_signal_ends_everything_at_once(tmp_path: Path) -> None:
    process = _start([*SMALL, "--epochs", "5000", "--strategy", "naive", "--seed", "0,1", "--jobs", "2"], tmp_path)
    while len(list(tmp_path.rglob("environment.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    for holder in tmp_path.rglob(".holder"):  # as hung as a run can be
        os.kill(int(holder.read_text().split()[1]), signal.SIGSTOP)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_kind_and_data_of_ones_own_reach_the_processes(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "tickets.csv").write_text(
        "task,text,label\n"
        + "".join(f"t{task},word{n} of {task},{'ab'[n % 2]}\n" for task in range(2) for n in range(40))
    )
    for data in ("mine.py", "tickets.csv"):
        command = ["run", "--scenario", str(tmp_path / data), "--model", "tiny", "--epochs", "1", "--device", "cpu"]
        command += ["--strategy", "naive", "--seed", "0,1"]
        process = _start([*command, "--jobs", "2"], tmp_path / "jobs")
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert main([*command, "-q", "--output-dir", str(tmp_path / "one")]) == 0
    found = predictions(tmp_path / "jobs")
    assert len(found) == 4
    assert found == predictions(tmp_path / "one")


OWN: Any = '''"""Two tasks of a kind of its own."""
import datasets
from clbench import Kind, Scenario, Task
from clbench.toolkit import read_csv_tasks
from clbench.kinds import find_kind

class Loud(type(find_kind("text"))):
    name = "loud"

class Mine(Scenario):
    kind = Loud()

    def tasks(self):
        def split(task, first, count):
            rows = range(first, first + count)
            return datasets.Dataset.from_dict(
                {"text": [f"word{n} number {n * 7 % 11} of {task}" for n in rows], "label": [n % 2 for n in rows]}
            )
        return [
            Task(f"t{t}", Loud(), ("a", "b"), split(t, 0, 20), split(t, 20, 6), split(t, 30, 8)) for t in range(2)
        ]
'''
