"""Runs that are killed again and again, and what differs between them and runs that were left alone."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case, differences
from benchmarks.processes import Process, Start, start_forked, start_fresh
from clbench.results import RunFolder

RESUMED = "resuming "  # what a run says that goes on from a checkpoint


@dataclass(frozen=True)
class Moment:
    """When a process is killed, and how it was started.

    ``event`` is a file of the run that appears or changes or "line: TEXT" for a line on stderr; the kill comes up to
    ``most`` seconds after the event has come for the n-th time, n at most ``times`` (from the start when the event is
    empty). With the event "change" a forked process dies before one of the first ``most`` changes it makes to the file
    system.
    """

    event: str
    most: float
    times: int = 1
    start: Start = start_forked


# In the order in which a run meets them; the delays are about as long as what follows the event takes.
WATCHED = (
    ("config.json", 0.5, 1),
    ("log.jsonl", 0.05, 4),
    ("checkpoint.new", 0.02, 6),
    ("checkpoint.old", 0.002, 4),
    ("checkpoint", 0.1, 6),
    ("line: steps ", 0.05, 2),
    ("predictions.parquet", 0.004, 1),
    ("result.json", 0.5, 1),
)
FRESH_MOMENTS = tuple(Moment(*event, start_fresh) for event in (("", 5.0, 1), *WATCHED))
FORKED_MOMENTS = tuple(Moment(*event) for event in (("", 0.2, 1), *WATCHED))
CHANGE = Moment("change", 140)


@dataclass(frozen=True)
class Kill:
    """Where a kill found the run; ``too_late`` when the run had ended before it came.

    ``resumed`` tells whether the process that was killed had gone on from a checkpoint.
    """

    event: str
    landed: str
    too_late: bool
    resumed: bool


@dataclass(frozen=True)
class Proof:
    """What came of a run that was killed: the kills and what differs from the run that was left alone."""

    case: Case
    kills: list[Kill]
    differences: list[str]


def run_to_end(case: Case, output: Path, start: Start = start_forked) -> RunFolder:
    """Start or go on with ``case`` in ``output`` and wait for the end; a checkpoint that is there must be used."""
    folder = only_folder(output)
    whole = [*output.glob("*/*/*/checkpoint/manifest.json"), *output.glob("*/*/*/checkpoint.old/manifest.json")]
    kept = folder is not None and bool(whole) and folder.read_result() is None
    process = start(case.arguments(output), output / "logs")
    code, folder = process.wait(), only_folder(output)
    if code != 0 or folder is None:
        raise AssertionError(f"exit code {code}: {process.stderr()}")
    if kept and RESUMED not in process.stderr():
        raise AssertionError(f"{folder.path} had a checkpoint and was begun again")
    return folder


def run_killed(case: Case, output: Path, moments: Iterable[Moment], seed: int) -> list[Kill]:
    """Start the run and kill it, once for each of ``moments``, or until it completes."""
    chance, kills = random.Random(seed), []
    for moment in moments:
        before = {path: _signature(path) for path in output.glob("*/*/*/*")}
        if moment.event == "change":
            process = start_forked(case.arguments(output), output / "logs", chance.randrange(1, int(moment.most) + 1))
        else:
            process = moment.start(case.arguments(output), output / "logs")
            if process.wait(_watch(moment.event, chance.randint(1, moment.times), output, before, process)) is None:
                end = time.monotonic() + chance.uniform(0, moment.most)
                process.wait(lambda end=end: time.monotonic() >= end)  # type: ignore[misc]
            process.send(signal.SIGKILL)
        code = process.wait()
        if code not in (0, -signal.SIGKILL):
            raise AssertionError(f"exit code {code}: {process.stderr()}")
        kills.append(Kill(moment.event, _where(output, before, process), code == 0, RESUMED in process.stderr()))
        folder = only_folder(output)
        if folder is not None and (folder.path / "result.json").exists():
            break
    return kills


def prove(case: Case, output: Path, moments: Sequence[Moment], seed: int, start: Start = start_forked) -> Proof:
    """Run ``case`` once alone and once with kills, and compare."""
    alone = run_to_end(case, output / "alone")
    kills = run_killed(case, output / "killed", moments, seed)
    return Proof(case, kills, differences(alone, run_to_end(case, output / "killed", start)))


def only_folder(output: Path) -> RunFolder | None:
    """The one run folder under ``output``, None before it is made."""
    folders = [path.parent for path in output.glob("*/*/*/config.json")]
    return RunFolder(folders[0]) if len(folders) == 1 else None


def _signature(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written, replaced or made again."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _watch(
    event: str, times: int, output: Path, before: dict[Path, tuple[int, int] | None], process: Process
) -> Callable[[], bool]:
    """Whether ``event`` has come ``times`` times since ``before``."""
    if not event:
        return lambda: True
    if event.startswith("line: "):
        return lambda: process.stderr().count(event.removeprefix("line: ")) >= times
    known = {path: {signature} for path, signature in before.items()}
    seen: set[tuple[int, int]] = set()

    def changed() -> bool:
        for path in output.glob(f"*/*/*/{event}"):
            signature = _signature(path)
            if signature is not None and signature not in known.get(path, ()):
                seen.add(signature)
        return len(seen) >= times

    return changed


def _where(output: Path, before: dict[Path, tuple[int, int] | None], process: Process) -> str:
    """What the run was doing when it ended, read from its folder and its last words."""
    now = {path.name: _signature(path) != before.get(path) for path in output.glob("*/*/*/*")}
    said = process.stderr()
    if now.get("result.json"):
        return "after result.json"
    if now.get("checkpoint.old") and "checkpoint" not in now:
        return "between the two renames of a checkpoint"
    if now.get("checkpoint.new"):
        return "writing a checkpoint"
    if any(changed and re.fullmatch(r"\.clbench-.*\.tmp", name) for name, changed in now.items()):
        return "writing a file"
    if now.get("predictions.parquet"):
        return "between predictions.parquet and result.json"
    if not now.get("config.json"):
        return "start-up"
    if not said:
        return "preparing"
    return "evaluation after a task" if re.search(r" steps  .*\n$", said) else "training"
