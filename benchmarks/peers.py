"""clbench against Avalanche and the Hugging Face Trainer over a sequence of tasks, in turns, each in its own process.

``python -m benchmarks.peers`` writes speed-<device>.json and .md into results/ (``--row same``: speed-<device>-same).
With the default sizes a turn takes about nine minutes on a 2-core CPU; ``--train 600 --test 300`` is the whole of
text_seq. An interrupted benchmark goes on with the same command. Run nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.measurements import WorkFile, check_equal_work, measure_all
from benchmarks.peer_tables import comparisons, notes, tables
from benchmarks.report import describe, heading, write_report
from benchmarks.sequences import PROGRAMS, ROWS, TaskSequence, measure
from benchmarks.timing import PAIRS
from clbench.models import choose_device

STRATEGIES = ("naive", "ewc")
PEERS = tuple(program for program in PROGRAMS if program != "clbench")


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    device = choose_device(options.device)
    options.output.mkdir(parents=True, exist_ok=True)
    name = "-".join(["speed", device.type, *(options.row or [])])
    work = WorkFile(options.output / f".{name}.work.jsonl", options.threads)
    found = measure_all(planned(options, device.type), options.pairs, work, partial(measure, threads=options.threads))
    check_equal_work(found)
    environment = describe("benchmarks.peers", given, device, options.threads)
    rows = comparisons(found)
    settings = asdict(next(iter(found)))
    data = {
        **environment,
        "settings": {key: settings[key] for key in settings if key not in ("program", "strategy", "row")},
        "comparisons": rows,
        "measurements": [
            {**{key: getattr(sequence, key) for key in ("row", "strategy", "program")}, "turn": turn, **asdict(outcome)}
            for sequence, outcomes in found.items()
            for turn, outcome in enumerate(outcomes, start=1)
        ],
    }
    lines = [
        *heading("clbench against its peers", environment, options.pairs),
        *tables(rows, found),
        *notes(next(iter(found)), next(iter(found.values()))[0]),
    ]
    write_report(options.output, name, data, lines)
    work.path.unlink(missing_ok=True)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="turns; fewer than 5 are a trial")
    parser.add_argument("--peer", action="append", choices=PEERS, help="default: all")
    parser.add_argument("--strategy", action="append", choices=STRATEGIES, help="default: both")
    parser.add_argument("--row", action="append", choices=ROWS, help="default: both")
    defaults = TaskSequence("clbench", "naive", "same")
    parser.add_argument("--scenario", default=defaults.scenario)
    parser.add_argument("--model", default=defaults.model)
    parser.add_argument("--tasks", type=int, default=defaults.tasks)
    parser.add_argument("--train", type=int, default=defaults.train, help="training texts a task")
    parser.add_argument("--test", type=int, default=defaults.test, help="test texts a task")
    parser.add_argument("--epochs", type=int, help="default: the scenario's")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each process, one at a time")
    parser.add_argument("--plain-adamw", action="store_true", help='Avalanche\'s AdamW in row "same" is not fused')
    parser.add_argument("--output", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    options.peer = options.peer or list(PEERS)
    if "avalanche" in options.peer and importlib.util.find_spec("avalanche") is None:
        parser.error("avalanche is not installed; pip install -c constraints.txt -e '.[avalanche]', or --peer trainer")
    return options


def planned(options: argparse.Namespace, device: str) -> list[TaskSequence]:
    """What one turn measures, clbench just before the peers that it is compared with."""
    sizes = {name: getattr(options, name) for name in ("scenario", "model", "tasks", "train", "test", "epochs", "seed")}
    return [
        TaskSequence(program, strategy, row, **sizes, device=device, plain_adamw=options.plain_adamw)
        for row in options.row or ROWS
        for strategy in options.strategy or STRATEGIES
        for program in ("clbench", *options.peer)
    ]


if __name__ == "__main__":
    sys.exit(main())
