"""Several runs of one command, one of which always fails, interrupted by signals until all that can end have ended."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import EVERY_RUN, SIZES, differences
from benchmarks.processes import start_forked
from clbench.results import RunFolder

FAILS = '''"""Fails when its first task has been learned."""

from clbench import Strategy


class Fails(Strategy):
    def after_task(self, learner, task):
        raise ValueError("on purpose")
'''
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
MOST_LINES, LONGEST = 6, 0.3  # a signal comes up to so many seconds after one of the first lines on stderr


@dataclass(frozen=True)
class SweepProof:
    """The signals that found a sweep running, those that came too late, and what went wrong or differs at the end."""

    signals: int
    too_late: int
    runs: int
    differences: list[str]


def prove_sweep(output: Path, signals: int, seed: int) -> SweepProof:
    """Run a sweep once alone and once interrupted up to ``signals`` times, and compare run by run."""
    output.mkdir(parents=True)
    (output / "fails.py").write_text(FAILS)
    alone = _arguments(output, "alone")
    process = start_forked(alone, output / "logs")
    found = [f"alone: exit code {code}" for code in [process.wait()] if code != 1]  # one of the runs fails
    landed, late, chance = 0, 0, random.Random(seed)
    for _ in range(signals):
        number = chance.choice(list(EXIT_CODES))
        process, lines = start_forked(_arguments(output, "stopped"), output / "logs"), chance.randint(0, MOST_LINES)
        process.wait(lambda process=process, lines=lines: process.stderr().count("\n") >= lines)  # type: ignore[misc]
        end = time.monotonic() + chance.uniform(0, LONGEST)
        process.wait(lambda end=end: time.monotonic() >= end)  # type: ignore[misc]
        process.send(number)
        code = process.wait()
        if code == 1 and "interrupted" not in process.stderr():
            late += 1
            break
        landed += 1
        # Before clbench has its own handlers, the system's or Python's answer to the signal is as good.
        if code not in (EXIT_CODES[number], -number, 1 if number == signal.SIGINT else None):
            found.append(f"{number.name}: exit code {code}: {process.stderr()[-200:]}")
    process = start_forked(_arguments(output, "stopped"), output / "logs")
    if (code := process.wait()) != 1:
        found.append(f"the last part: exit code {code}: {process.stderr()[-200:]}")
    runs, others = _finished(output / "alone"), _finished(output / "stopped")
    found += [f"{name} did not end in both" for name in sorted(set(runs) ^ set(others))]
    for name in sorted(set(runs) & set(others)):
        found += [f"{name}: {difference}" for difference in differences(runs[name], others[name])]
    return SweepProof(landed, late, len(runs), found)


def _arguments(output: Path, folder: str) -> list[str]:
    strategies = ("naive", str(output / "fails.py"), "replay+ewc")
    named = [part for strategy in strategies for part in ("--strategy", strategy)]
    where = ("--scenario", "toy", "--scenario-arg", "tasks=2", "--seed", "0-1", "--output-dir", str(output / folder))
    return ["run", *named, *where, *EVERY_RUN, *SIZES["toy"]]


def _finished(output: Path) -> dict[str, RunFolder]:
    folders = [RunFolder(path.parent) for path in output.glob("*/*/*/result.json")]
    return {f"{folder.path.parent.name}/{folder.path.name}": folder for folder in folders}
