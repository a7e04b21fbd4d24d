"""Several runs of one command: one that fails, is held or is interrupted costs the others nothing."""

from __future__ import annotations

import json
import re
import sys
import weakref
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from filelock import FileLock

from clbench import engine, report
from clbench.cli import main
from clbench.commands.planning import plan_runs
from clbench.commands.run import run_plans
from clbench.errors import InputError
from clbench.models.hardware import release_memory
from clbench.plugins.plan import make_plan
from clbench.results.runs import find_runs
from tests.helpers import slow

SMALL = [
    *("run", "--scenario", "toy", "--epochs", "1", "--device", "cpu", "-q"),
    *("--scenario-arg", "train=12", "--scenario-arg", "dev=3", "--scenario-arg", "test=6"),
]
BROKEN = '''"""Fails in its last task."""
import os, shutil, signal
from pathlib import Path
from clbench import Strategy

class Broken(Strategy):
    def after_task(self, learner, task):
        if task.position == 2:
            ACTION
'''


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """``run(action, *arguments)``: naive, a strategy that does ``action`` in its last task, and replay."""

    def call(action: str, *arguments: str) -> tuple[int, str, str]:
        (tmp_path / "broken.py").write_text(BROKEN.replace("ACTION", action))
        strategies = [
            part for name in ("naive", str(tmp_path / "broken.py"), "replay") for part in ("--strategy", name)
        ]
        code = main([*SMALL, *strategies, "--output-dir", str(tmp_path / "out"), *arguments])
        return code, *capsys.readouterr()

    return call


def finished(folder: Path) -> list[str]:
    return sorted(run.result["strategy"] for run in find_runs([folder])[0])


@pytest.mark.parametrize("error", ["ValueError", slow("SystemExit")])
def test_an_exception_of_one_run_is_one_line_and_the_others_go_on(error: str, run: Any, tmp_path: Path) -> None:
    code, out, err = run(f'raise {error}("two\\nlines")')
    assert code == 1
    lines = [line for line in err.splitlines() if "warning" not in line]
    (log,) = (tmp_path / "out" / "toy" / "broken").glob("*/log.jsonl")
    assert lines == [f"error: broken, seed 0: {error}: two lines; the traceback is in {log}"]
    failures = [json.loads(line) for line in log.read_text().splitlines() if '"failure"' in line]
    assert "in after_task" in failures[0]["traceback"]
    assert finished(tmp_path / "out") == ["naive", "replay"]
    assert "naive" in out
    assert "replay" in out


def test_a_run_that_another_process_holds_does_not_stop_the_rest(run: Any, tmp_path: Path) -> None:
    options = {
        "scenario": "toy",
        "epochs": 1,
        "device": "cpu",
        "strategy": "naive",
        "output_dir": str(tmp_path / "out"),
    }
    plan = make_plan({**options, "scenario_args": {"train": 12, "dev": 3, "test": 6}})
    folder = engine.run_folder(plan.config)
    folder.create()
    with FileLock(folder.path / ".lock"):
        code, _, err = run("pass")
    assert code == 1
    assert "naive, seed 0" in err
    assert "is working on this run" in err
    assert finished(tmp_path / "out") == ["broken", "replay"]


def test_a_plot_that_cannot_be_drawn_loses_no_result(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise InputError("no room")

    for name in ("plot_matrix", "plot_curves", "plot_tradeoff"):
        monkeypatch.setattr(report, name, refuse)
    code, out, err = run("pass")
    assert code == 0
    assert "warning: no plot: no room" in err
    assert "replay" in out
    assert finished(tmp_path / "out") == ["broken", "naive", "replay"]


def test_a_signal_after_the_last_checkpoint_ends_the_command(run: Any, tmp_path: Path) -> None:
    code, _, err = run("os.kill(os.getpid(), signal.SIGTERM)")
    assert code == 143
    assert "is finished" in err
    assert finished(tmp_path / "out") == ["broken", "naive"]


def test_a_signal_before_a_failure_ends_the_command(run: Any, tmp_path: Path) -> None:
    """Nobody had acted on the signal when the run failed: the next run began."""
    code, _, err = run('[os.kill(os.getpid(), signal.SIGTERM), int("one\\ntwo")]')
    assert code == 143
    (log,) = (tmp_path / "out" / "toy" / "broken").glob("*/log.jsonl")
    assert re.search(r"error: stopped after a failure: ValueError: .*; the traceback is in ", err)
    assert "in after_task" in log.read_text()
    assert finished(tmp_path / "out") == ["naive"]


def test_a_folder_that_vanishes_during_its_run_is_whole_at_the_end(run: Any, tmp_path: Path) -> None:
    code, _, _ = run(f"[shutil.rmtree(p) for p in Path({str(tmp_path)!r}).glob('out/toy/broken/*')]")
    assert code in (0, 1)
    runs, skipped = find_runs([tmp_path / "out"])
    assert {"naive", "replay"} <= {run.result["strategy"] for run in runs}
    for folder in (tmp_path / "out" / "toy" / "broken").glob("*"):
        assert (folder / "config.json").exists() or not (folder / "result.json").exists()
    assert not [line for line in skipped if "config.json" in line]


def test_a_finished_run_leaves_nothing_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, the plans kept every strategy, with its model, until the last run: 0.5 GiB a run on text_seq."""
    options = {"scenario": "toy", "epochs": 1, "device": "cpu", "output_dir": str(tmp_path), "limit": 6}
    plans = plan_runs(options, ["ewc", "naive"], [], ["train=12", "dev=3", "test=6"], None)
    kept = [weakref.ref(plan.strategy.members[0][1]) for plan in plans]
    alive: list[int] = []

    def release() -> None:
        release_memory()
        alive.append(sum(strategy() is not None for strategy in kept))

    monkeypatch.setattr("clbench.engine.one_run.release_memory", release)
    assert run_plans(plans, verbosity=-1) == 0
    # When the memory goes back after the first run, only the second run's strategy is there.
    assert alive == [1, 0]


def test_a_failed_run_leaves_nothing_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, its error kept the run while memory was given back."""
    (tmp_path / "broken.py").write_text(BROKEN.replace("ACTION", "raise MemoryError"))
    options = {"scenario": "toy", "epochs": 1, "device": "cpu", "output_dir": str(tmp_path), "limit": 6}
    plans = plan_runs(options, [str(tmp_path / "broken.py"), "frozen"], [], ["train=12", "dev=3", "test=6"], None)
    kept = weakref.ref(plans[0].strategy.members[0][1])
    alive: list[bool] = []

    def release() -> None:
        release_memory()
        alive.append(kept() is not None)

    for place in ("engine.one_run", "commands.run"):
        monkeypatch.setattr(f"clbench.{place}.release_memory", release)
    assert run_plans(plans, verbosity=-1) == 1
    assert alive[1:] == [False, False]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at Linux's own figures")
def test_the_memory_of_a_run_goes_back_to_the_system() -> None:
    def resident() -> int:
        return int(re.findall(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[0]) // 1024

    before = resident()
    # Blocks too small for pages of their own, as a run's activations are, with one at the top that stays.
    blocks = [torch.ones(8_000) for _ in range(10_000)]
    top = torch.ones(8_000)
    grown = resident()
    blocks.clear()
    release_memory()
    assert grown - before > 200
    assert resident() - before < 100
    assert top.sum() == 8_000


def test_settings_of_accelerate_in_the_environment_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever name accelerate's own sources read; among them the accumulation that divided the loss, not a penalty."""
    folder = Path(str(accelerate.__file__)).parent
    names = {
        name for file in folder.rglob("*.py") for name in re.findall(r"\bACCELERATE_[A-Z0-9_]+\b", file.read_text())
    }
    assert len(names) > 30
    command = [*SMALL, "--strategy", "ewc(fisher_samples=4)", "--output-dir"]
    assert main([*command, str(tmp_path / "clean")]) == 0
    options = {"scenario": "toy", "epochs": 1, "device": "cpu", "strategy": "ewc(fisher_samples=4)"}
    sizes = {"train": 12, "dev": 3, "test": 6}
    plan = make_plan({**options, "scenario_args": sizes, "output_dir": str(tmp_path / "set")})
    for name in names:  # after the plan, which refuses some of them
        monkeypatch.setenv(name, "16" if "STEPS" in name else "true")
    engine.run(plan, engine.Reporter())
    clean, disturbed = (next((tmp_path / name).rglob("predictions.parquet")) for name in ("clean", "set"))
    assert clean.read_bytes() == disturbed.read_bytes()
    recorded = json.loads(disturbed.with_name("environment.json").read_text())["variables"]
    assert recorded["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] == "16"
