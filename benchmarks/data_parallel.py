"""Every strategy in two processes that train one model, against one process: how far the answers are apart.

``python -m benchmarks.data_parallel`` writes data-parallel.json and .md into results/, in half an hour. Runs lie in
``--runs``, where an interrupted command finds them again. Nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import describe, heading, table, write_report
from benchmarks.sequences import ROOT
from benchmarks.timing import PAIRS
from clbench import engine, plugins
from clbench.errors import ClbenchError
from clbench.plugins import make_plan
from clbench.results import Run, RunFolder, find_runs

SETTINGS = ("task", "class", "domain")
# Batches of 7 rows, so that the parts differ; the last one of an epoch has 1 row, and none for the second process.
# Not by Adam, which divides gradients by their size: where they are all rounding, as a teacher's at first, it makes
# full steps of that.
OPTIONS: dict[str, Any] = {
    **{"scenario": "toy", "epochs": 1, "batch_size": 7, "device": "cpu"},
    **{"first_tasks": 2, "min_steps": 0, "optimizer": "sgd", "momentum": 0.9, "lr": 0.02, "head_lr": 0.05},
    "scenario_args": {"train": 22, "dev": 9, "test": 15},
}
# Masks of dropout are drawn for the rows that a process has.
DROPOUT = ("dropout", "r_drop")
NOTES = """
`toy` with the model `tiny` in fp32 by SGD with momentum: three tasks of 22 texts, batches of 7, so that no two parts
of a batch are alike and the last batch has a row for one process only. A cell is an accuracy of the matrix, over
15 texts, rows before training and of unseen tasks included; a confidence is the one that predictions.parquet has for
each text after each task; answers counts those that differ, of all. The largest of each is given, and – where a
strategy does not support the setting. Where answers differ and confidences do not, two labels are as probable as each
other, and the last digit decides (`few_shot` before it has learned much). `dropout` and `r_drop` draw masks for each
process' own rows, so that theirs are other draws, not the same by other sums.

Adam is not measured here: it divides gradients by their size, also where they are hardly more than rounding. Nor are
GPUs (NCCL): the processes exchange gradients by gloo, on one machine."""


@dataclass(frozen=True)
class Difference:
    """Between a run of two processes and one of one.

    Attributes:
        cell: the largest of the accuracy matrix.
        confidence: the largest of an answer's.
        answers: how many are others.
        seen: of the counts of examples learned from.
    """

    cell: float
    confidence: float
    answers: int
    seen: int


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        runs = options.runs or Path(temporary)
        found = {setting: measure(setting, runs / setting) for setting in options.setting or SETTINGS}
    environment = describe("benchmarks.data_parallel", given, torch.device("cpu"), 1)
    lines = [*heading("Two processes against one", environment, PAIRS), "", *page(found)]
    rows = {setting: {name: asdict(each) for name, each in row.items()} for setting, row in found.items()}
    write_report(options.output, "data-parallel", {"environment": environment, "differences": rows}, lines)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_parallel", description=__doc__)
    parser.add_argument("--setting", action="append", choices=SETTINGS, help="one to measure; may be repeated")
    parser.add_argument("--runs", type=Path, help="where the runs lie; a temporary folder where it is not given")
    parser.add_argument("--output", type=Path, default=Path("results"))
    return parser.parse_args(arguments)


def measure(setting: str, folder: Path) -> dict[str, Difference]:
    """How far every strategy that supports ``setting`` is apart in runs under ``folder``, by its name."""
    strategies = supporting(setting)
    process = launch(folder, [*run_arguments(folder, *strategies), "--setting", setting, "--output-dir", "two"])
    _, complaint = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{setting}: the runs in two processes failed: {complaint}")
    for name in strategies:
        plan = make_plan({**OPTIONS, "strategy": name, "setting": setting, "output_dir": str(folder / "one")})
        engine.run(plan, engine.Reporter())
    one, two = results(folder / "one"), results(folder / "two")
    # In the same place: processes are no part of a run's name.
    found = {run.result["strategy"]: difference(run, two[place]) for place, run in one.items()}
    return {name: found[name] for name in strategies}


def supporting(setting: str) -> list[str]:
    """The strategies that run on the scenario in ``setting`` with their defaults."""
    found = []
    for name in plugins.available("strategy"):
        try:
            make_plan({**OPTIONS, "strategy": name, "setting": setting})
        except ClbenchError:
            continue
        found.append(name)
    return found


def run_arguments(folder: Path, *strategies: str) -> list[str]:
    """Of `run` with OPTIONS in a file in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "options.yaml").write_text(json.dumps(OPTIONS))
    named = [word for strategy in strategies for word in ("--strategy", strategy)]
    return ["run", "--config", "options.yaml", *named, "-q"]


def launch(folder: Path, arguments: Sequence[str], processes: int = 2) -> subprocess.Popen[str]:
    """`torchrun -m clbench` with ``arguments`` in ``folder``, with one thread each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen(
        [*command, "-m", "clbench", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(folder: Path) -> dict[str, Run]:
    """Each finished run under ``folder``, by its place there."""
    runs, _ = find_runs([folder])
    return {str(run.folder.relative_to(folder)): run for run in runs}


def difference(one: Run, two: Run) -> Difference:
    """How far ``two`` is from ``one``."""
    cells = [
        (cell, other)
        for row, others in zip(one.result["accuracy_matrix"], two.result["accuracy_matrix"], strict=True)
        for cell, other in zip(row, others, strict=True)
    ]
    if any((cell is None) != (other is None) for cell, other in cells):
        raise RuntimeError(f"{one.folder} and {two.folder}: not the same cells were measured")
    alone, together = (RunFolder(run.folder).read_predictions() for run in (one, two))
    return Difference(
        max(abs(cell - other) for cell, other in cells if cell is not None),
        max(abs(a - b) for a, b in zip(alone["confidence"], together["confidence"], strict=True)),
        sum(a != b for a, b in zip(alone["prediction"], together["prediction"], strict=True)),
        abs(one.result["cost"]["examples_seen"] - two.result["cost"]["examples_seen"]),
    )


def page(found: dict[str, dict[str, Difference]]) -> list[str]:
    """The table by strategy, and what it means."""
    header = ["strategy", *(f"{setting}: {what}" for setting in found for what in ("cell", "confidence", "answers"))]
    names = sorted({name for row in found.values() for name in row})
    body = [[f"`{name}`", *(text for row in found.values() for text in _cells(row.get(name)))] for name in names]
    counts = ", ".join(f"{len(row)} in {setting}" for setting, row in found.items())
    same = [each for row in found.values() for name, each in row.items() if name not in DROPOUT]
    largest = max(each.confidence for each in same)
    others = [
        f"`{name}` ({setting})"
        for setting, row in found.items()
        for name, each in row.items()
        if name not in DROPOUT and (each.answers or each.cell or each.seen)
    ]
    told = (
        f"Strategies: {counts}. Of the {len(same)} pairs of runs without dropout {len(same) - len(others)} give the "
        f"same answers and accuracies, all but {', '.join(others) or 'none'}; confidences differ by {largest:.1e} at "
        "most."
    )
    return [told, "", *table(header, body), *NOTES.splitlines()]


def _cells(found: Difference | None) -> tuple[str, str, str]:
    if found is None:
        return "–", "–", "–"
    return f"{found.cell:.3g}", f"{found.confidence:.1e}", str(found.answers)


if __name__ == "__main__":
    sys.exit(main())
