"""`torchrun -m clbench run`: two processes train one model, and what comes of it is what one process gives."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clbench import engine, plugins
from clbench.cli import main
from clbench.errors import ClbenchError, InputError, RunError
from clbench.models import ranks
from clbench.plugins import make_plan
from clbench.results import Run, RunFolder, find_runs
from tests.helpers import ROOT

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes and signals as on Linux")
# Batches of 7 rows, so that no part is as large as the other; the last one of an epoch has 1, and no row for the second.
# Not by Adam, which divides gradients by their size: where they are all rounding, as a teacher's at first, it makes
# full steps of that.
OPTIONS: dict[str, Any] = {
    **{"scenario": "toy", "epochs": 1, "batch_size": 7, "device": "cpu"},
    **{"optimizer": "sgd", "momentum": 0.9, "lr": 0.02, "head_lr": 0.05},
    "scenario_args": {"train": 36, "dev": 9, "test": 15},
}
SMALL = [
    *("--scenario", "toy", "--epochs", "1", "--batch-size", "7", "--device", "cpu"),
    *("--optimizer", "sgd", "--momentum", "0.9", "--lr", "0.02", "--head-lr", "0.05"),
    *("--scenario-arg", "train=36", "--scenario-arg", "dev=9", "--scenario-arg", "test=15"),
]
# One of each family: nothing, a memory, its stored outputs, a penalty, a teacher, a projection, modules, frozen
# features, a loop of its own, a recipe that decides by the dev loss and takes gradients twice.
FAMILIES = ("naive", "replay", "der", "ewc", "distillation", "agem", "lora_incremental", "ncm", "gdumb(epochs=1)")
FAMILIES = (*FAMILIES, "early_stopping+sam")
# Masks of dropout are drawn for the rows that a process has.
DROPOUT = ("dropout", "r_drop")


def launch(folder: Path, arguments: list[str], processes: int = 2) -> subprocess.Popen[str]:
    """`torchrun -m clbench` with ``arguments`` in ``folder``; one thread each, as in the tests."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen(
        [*command, "-m", "clbench", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_both(folder: Path, strategies: list[str], more: list[str]) -> tuple[str, str]:
    """Run ``strategies`` in two processes; what they print."""
    named = [word for strategy in strategies for word in ("--strategy", strategy)]
    process = launch(folder, ["run", *SMALL, *more, *named, "--output-dir", "two", "-q"])
    out, err = process.communicate(timeout=1500)
    assert process.returncode == 0, err
    return out, err


def results(folder: Path) -> dict[str, Run]:
    """Each finished run under ``folder``, by its place there."""
    runs, _ = find_runs([folder])
    return {str(run.folder.relative_to(folder)): run for run in runs}


def check_the_same(one: Run, two: Run) -> None:
    """The same matrix, answers and counts, and answers that are as sure."""
    for row, other in zip(one.result["accuracy_matrix"], two.result["accuracy_matrix"], strict=True):
        assert other == pytest.approx(row, abs=1e-4)
    alone, together = (RunFolder(run.folder).read_predictions() for run in (one, two))
    assert together["prediction"] == alone["prediction"]
    assert together["confidence"] == pytest.approx(alone["confidence"], abs=1e-4)
    assert two.result["cost"]["examples_seen"] == one.result["cost"]["examples_seen"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    folder = tmp_path_factory.mktemp("pair")
    return folder, *run_both(folder, list(FAMILIES), [])


@pytest.mark.parametrize("strategy", FAMILIES)
def test_two_processes_give_what_one_gives(strategy: str, pair: tuple[Path, str, str], tmp_path: Path) -> None:
    plan = make_plan({**OPTIONS, "strategy": strategy, "output_dir": str(tmp_path)})
    engine.run(plan, engine.Reporter())
    ((place, one),) = results(tmp_path).items()
    check_the_same(one, results(pair[0] / "two")[place])  # in the same place: processes are no part of the hash


def test_one_of_two_processes_writes_and_speaks(pair: tuple[Path, str, str]) -> None:
    folder, out, _ = pair
    assert len(results(folder / "two")) == len(FAMILIES)
    assert len(re.findall("seed 0: average accuracy", out)) == len(FAMILIES)
    (environment,) = folder.glob("two/toy/naive/*/environment.json")
    assert json.loads(environment.read_text())["hardware"]["device"] == "2 x cpu"
    for log in folder.glob("two/toy/*/*/log.jsonl"):
        events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
        assert events.count("row") == 4
    assert list(folder.rglob(".holder")) == []
