"""Finished measurements are kept in a work file, so that an interrupted benchmark goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.sequences import ROOT, Outcome, TaskSequence

MEASURED_SOURCES = ("benchmarks", "clbench", "scenarios", "strategies")


def source_hash() -> str:
    """A hash of all code that a measurement may depend on."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in MEASURED_SOURCES for path in (ROOT / folder).rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


class WorkFile:
    """One line a finished measurement; those made by other code or with another number of threads are left out."""

    def __init__(self, path: Path, threads: int) -> None:
        self.path = path
        self.origin = f"{source_hash()}, {threads} threads"
        self.outcomes: dict[str, Outcome] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            entry = _read(line)
            if entry.get("origin") == self.origin:
                self.outcomes[entry["key"]] = Outcome(**entry["outcome"])

    def add(self, key: str, outcome: Outcome) -> None:
        """Keep a measurement."""
        self.outcomes[key] = outcome
        with self.path.open("a", encoding="utf-8") as file:
            # The line before may have been cut off.
            file.write("\n" + json.dumps({"origin": self.origin, "key": key, "outcome": asdict(outcome)}) + "\n")


def measure_all(
    sequences: Iterable[TaskSequence], turns: int, work: WorkFile, measure: Callable[[TaskSequence], Outcome]
) -> dict[TaskSequence, list[Outcome]]:
    """Every sequence once a turn, in the order given; ``measure`` is called for what ``work`` does not hold."""
    found: dict[TaskSequence, list[Outcome]] = {sequence: [] for sequence in sequences}
    for turn in range(turns):
        for sequence, outcomes in found.items():
            key = f"turn {turn + 1}: {json.dumps(asdict(sequence), sort_keys=True)}"
            if key not in work.outcomes:
                outcome = measure(sequence)
                _say(f"turn {turn + 1} of {turns}, {sequence.row}, {sequence.strategy}, {sequence.program}", outcome)
                work.add(key, outcome)
            outcomes.append(work.outcomes[key])
    return found


def check_equal_work(found: Mapping[TaskSequence, Sequence[Outcome]]) -> None:
    """Refuse a comparison of programs that did not do the same.

    Raises:
        RuntimeError: steps, texts learned from or texts answered differ.
    """
    done = {
        (outcome.optimizer_steps, outcome.texts_trained, outcome.texts_evaluated): sequence
        for sequence, outcomes in found.items()
        for outcome in outcomes
    }
    if len(done) > 1:
        lines = [f"{steps} steps, {trained} texts learned from, {evaluated} answered: {sequence}"
                 for (steps, trained, evaluated), sequence in done.items()]  # fmt: skip
        raise RuntimeError("\n".join(["the programs did not do the same work:", *lines]))


def _read(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:  # empty, or cut off
        return {}
    return entry if isinstance(entry, dict) else {}


def _say(name: str, outcome: Outcome) -> None:
    seconds = f"{outcome.sequence_seconds:.1f} s and {outcome.load_seconds:.1f} s of loading"
    print(f"{name}: {seconds}", file=sys.stderr, flush=True)
