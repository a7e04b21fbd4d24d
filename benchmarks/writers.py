"""Several processes that write into one results folder at once while a reader looks on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.cases import EVERY_RUN, SIZES, differences
from benchmarks.processes import Process, Start, start_forked
from clbench.results import RunFolder, find_runs


@dataclass
class Sight:
    """What a reader saw: how often it looked, runs it found complete, and every line that told of something torn."""

    looks: int = 0
    complete: int = 0
    torn: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """Exit codes of the writers, what differs from runs made alone (by seed), and what the reader saw."""

    codes: list[int | None]
    differences: dict[int, list[str]]
    sight: Sight


def write_together(output: Path, seeds: Sequence[int], start: Start = start_forked) -> Outcome:
    """Make one run a seed, all at once in one folder, then the same runs alone in another, and compare."""
    together, alone = output / "together", output / "alone"
    processes = [start(_arguments(together, [seed]), output / "logs") for seed in seeds]
    sight = _look_on(together, processes)
    codes = [process.wait() for process in processes]
    last = start(_arguments(alone, seeds), output / "logs")
    if last.wait() != 0:
        raise AssertionError(f"the runs made alone failed: {last.stderr()}")
    pairs = zip(_folders(alone), _folders(together), strict=True)
    return Outcome(codes, {seed: differences(*pair) for seed, pair in zip(seeds, pairs, strict=True)}, sight)


def _arguments(output: Path, seeds: Sequence[int]) -> list[str]:
    chosen = [part for seed in seeds for part in ("--seed", str(seed))]
    named = ("--scenario", "toy", "--strategy", "replay", "--output-dir", str(output))
    return ["run", *named, *chosen, *EVERY_RUN, *SIZES["toy"], "--scenario-arg", "tasks=2"]


def _folders(output: Path) -> list[RunFolder]:
    return [RunFolder(path.parent) for path in sorted(output.glob("*/*/*/result.json"))]


def _look_on(output: Path, processes: Sequence[Process]) -> Sight:
    """Read the results folder again and again until the last of ``processes`` has ended."""
    sight = Sight()
    while any(process.poll() is None for process in processes):
        if output.exists():
            look(output, sight)
        time.sleep(0.005)
    look(output, sight)
    return sight


def look(output: Path, sight: Sight) -> None:
    """Read every run in ``output`` once, predictions included, and note what is torn."""
    runs, skipped = find_runs([output])
    sight.looks += 1
    sight.complete = len(runs)
    sight.torn += [line for line in skipped if "not finished" not in line]
    for run in runs:
        columns = RunFolder(run.folder).read_predictions()
        if len({len(values) for values in columns.values()}) != 1:
            sight.torn.append(f"{run.folder}: columns of predictions.parquet differ in length")
