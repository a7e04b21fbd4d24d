"""What a checkpoint after each task costs a run: the same run with and without saving, in turns.

``python -m benchmarks.checkpoints`` writes checkpoints-<device>.json and .md into results/. It takes about half
an hour on a 2-core CPU. Run nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

from benchmarks.report import describe, heading, table, write_report
from benchmarks.timing import PAIRS, described, prepare_process, quartiles, spread, start_as_command_line
from clbench import engine
from clbench.engine import Reporter, engine as loop
from clbench.plugins import make_plan

NOTES = """
A whole run of `{scenario}` ({train} training and {test} test texts a task) with each strategy, {pairs} times with a
checkpoint after each task but the last, as always, and as often with the saving taken out, in turns in one process,
every second turn the other way round. A checkpoint holds what learned and what the strategy keeps; it is copied at once
and written, hashed and synced by a thread while the next task is learned. Its cost does not depend on the number of
texts. Waited is the time for which learning stands still (`checkpoint` in the run's profile); processor time counts
every thread. Differences are of two runs of one turn; numbers are median (minimum–maximum), for differences median
(first–third quartile)."""


@dataclass(frozen=True)
class Cost:
    """Seconds of one run: of the clock, of the processors, and those that it waited for checkpoints."""

    wall: float
    processors: float
    waited: float


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    device = prepare_process(options.device, options.threads)
    run_once("naive", options, True)  # the first run of a process is slower
    rows, data = [], {}
    for strategy in options.strategy or ["naive", "ewc"]:
        found = measure(strategy, options)
        more = {
            name: [getattr(a, name) - getattr(b, name) for a, b in zip(found[True], found[False], strict=True)]
            for name in ("wall", "processors")
        }
        data[strategy] = {
            "wall_more": described(more["wall"]),
            "processors_more": described(more["processors"]),
            "with": [asdict(cost) for cost in found[True]],
            "without": [asdict(cost) for cost in found[False]],
        }
        rows.append(
            [
                strategy,
                *(spread([cost.wall for cost in found[saves]]).text(1) for saves in (True, False)),
                *(quartiles(values, 2) for values in more.values()),
                spread([cost.waited for cost in found[True]]).text(2),
            ]
        )
    environment = describe("benchmarks.checkpoints", given, device, options.threads)
    header = ["strategy", "with (s)", "without (s)", "more (s)", "more processor time (s)", "waited (s)"]
    notes = NOTES.format(scenario=options.scenario, train=options.train, test=options.test, pairs=options.pairs)
    lines = [*heading("Checkpoints", environment, options.pairs), "", *table(header, rows), *notes.splitlines()]
    write_report(options.output, f"checkpoints-{device.type}", {**environment, "strategies": data}, lines)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoints", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="turns; fewer than 5 are a trial")
    parser.add_argument("--strategy", action="append", help="default: naive and ewc")
    parser.add_argument("--scenario", default="text_seq")
    parser.add_argument("--train", type=int, default=600, help="training texts a task")
    parser.add_argument("--test", type=int, default=300, help="test texts a task")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=Path("results"))
    return parser.parse_args(arguments)


def measure(strategy: str, options: argparse.Namespace) -> dict[bool, list[Cost]]:
    """The costs of the runs with (True) and without (False) saving, turn by turn."""
    found: dict[bool, list[Cost]] = {True: [], False: []}
    for turn in range(options.pairs):
        for saves in (True, False) if turn % 2 == 0 else (False, True):
            found[saves].append(run_once(strategy, options, saves))
            print(f"{strategy}, saving {saves}: {found[saves][-1]}", file=sys.stderr, flush=True)
    return found


def saving(saves: bool) -> AbstractContextManager[object]:
    """The engine with or without its checkpoints inside the block."""
    return nullcontext() if saves else mock.patch.object(loop, "save")


def run_once(strategy: str, options: argparse.Namespace, saves: bool) -> Cost:
    """One run in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="clbench-checkpoints-") as folder, saving(saves):
        plan = make_plan(
            {
                "scenario": options.scenario,
                "strategy": strategy,
                "device": options.device,
                "scenario_args": {"train": options.train, "test": options.test},
                "profile": True,
                "output_dir": folder,
            }
        )
        wall, processors = time.perf_counter(), time.process_time()
        result = engine.run(plan, Reporter())
        wall, processors = time.perf_counter() - wall, time.process_time() - processors
    return Cost(wall, processors, result["cost"]["profile"].get("checkpoint", 0.0))


if __name__ == "__main__":
    start_as_command_line("benchmarks.checkpoints")
    sys.exit(main())
