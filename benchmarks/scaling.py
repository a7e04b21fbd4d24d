"""What grows with the number of tasks and of runs.

``python -m benchmarks.scaling`` writes scaling-<device>.json and .md into results/: the time of a step, memory and
checkpoint of naive and EWC from task 2 to task 50, and ``clbench compare`` over 10,000 generated runs. It takes about
ten minutes on a 2-core CPU, half of it to write the runs. Run nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.many_runs import compare_seconds, write_runs
from benchmarks.report import describe, heading, mebibytes, table, write_report
from benchmarks.step_times import learn, prepare_many, step_times, trainable_bytes
from benchmarks.timing import PAIRS, described, prepare_process, quartiles, ratios, spread, start_as_command_line
from clbench.plugins import make_plan
from clbench.results import RunFolder
from clbench.strategy import Strategy

STRATEGIES = ("naive", "ewc")
MOMENTS = (2, 5, 10, 20, 50)
NOTES = """
A step is the engine's own (batch, forward and backward pass, the strategy's hooks, clipping, AdamW) on the same
{batch_size} short texts, small so that a penalty's share is large: {steps} of them a measurement. The strategy has
learned all tasks before; its state at each moment was kept, and the moments take turns, {turns} of them, so that a
drifting machine slows all alike. Ratios are of measurements in one turn; numbers are median (first–third quartile).
Stored is what the strategy keeps, as in result.json; trainable weights are {weights}; the checkpoint holds the weights
that learn and what the strategy keeps. Memory is what the process has resident, on a GPU what its tensors take."""
RUN_NOTES = """
## Runs

`python -m clbench compare FOLDER` as a process, over {runs} runs of five tasks with {tests} predictions each, just
written, so probably in the page cache: {seconds} s."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    device = prepare_process(options.device, options.threads)
    settings = {"model": options.model, "device": str(device), "batch_size": options.batch_size}
    found = {strategy: measure(strategy, options, settings) for strategy in STRATEGIES}
    runs = measure_compare(options.runs, options.pairs) if options.runs else []
    environment = describe("benchmarks.scaling", given, device, options.threads)
    notes = NOTES.format(
        batch_size=options.batch_size,
        steps=options.steps,
        turns=options.turns,
        weights=mebibytes(found["ewc"]["trainable_bytes"]),
    )
    lines = [*heading("Scaling", environment, options.pairs), "", "## Tasks", "", *task_table(found)]
    lines += notes.splitlines()
    if runs:
        text = spread(runs).text(1)
        lines += RUN_NOTES.format(runs=f"{options.runs:,}", tests=f"{6 * 5 * 300:,}", seconds=text).splitlines()
    data = {
        **environment,
        "settings": {**settings, "steps": options.steps, "runs": options.runs},
        "strategies": found,
        "compare_seconds": described(runs) if runs else None,
    }
    write_report(options.output, f"scaling-{device.type}", data, lines)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="turns of compare; fewer than 5 are a trial")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--tasks", type=int, default=MOMENTS[-1], help="2 to 200")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2, help="steps of one measurement")
    parser.add_argument("--turns", type=int, default=100, help="turns of the measurements of steps")
    parser.add_argument("--runs", type=int, default=10_000, help="generated runs; 0 leaves compare out")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=Path("results"))
    return parser.parse_args(arguments)


def measure(strategy: str, options: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """Step times, and sizes, at each moment."""
    expression = "ewc(fisher_samples=8)" if strategy == "ewc" else strategy
    moments = [moment for moment in MOMENTS if moment <= options.tasks]
    prepared = prepare_many(expression, options.tasks, settings)
    with tempfile.TemporaryDirectory(prefix="clbench-scaling-") as folder:
        kept, sizes = learn(prepared, moments, RunFolder(Path(folder)))
        seconds = step_times(prepared, kept, partial(build, expression), options.turns, options.steps)
    return {
        "step_seconds": {str(moment): described(values) for moment, values in seconds.items()},
        "ratio_to_first": {
            str(moment): described(ratios(values, seconds[moments[0]])) for moment, values in seconds.items()
        },
        "sizes": [asdict(size) for size in sizes],
        "trainable_bytes": trainable_bytes(prepared),
    }


def build(expression: str) -> Strategy:
    """A new strategy."""
    return make_plan({"scenario": "toy", "strategy": expression, "model": "tiny"}).strategy


def measure_compare(runs: int, turns: int) -> list[float]:
    """Seconds of ``compare`` over ``runs`` runs, several times."""
    with tempfile.TemporaryDirectory(prefix="clbench-runs-") as folder:
        print(f"writing {runs:,} runs", file=sys.stderr, flush=True)
        write_runs(Path(folder), runs)
        return [compare_seconds(Path(folder)) for _ in range(turns)]


def task_table(found: dict[str, dict[str, Any]]) -> list[str]:
    """One row a strategy and moment."""
    rows = []
    for strategy, one in found.items():
        for size in one["sizes"]:
            moment = str(size["tasks"])
            memory = "–" if size["memory_bytes"] is None else mebibytes(size["memory_bytes"])
            rows.append(
                [
                    strategy,
                    moment,
                    quartiles([1000 * value for value in one["step_seconds"][moment]["values"]], 1),
                    quartiles(one["ratio_to_first"][moment]["values"], 3),
                    mebibytes(size["stored_bytes"]),
                    f"{size['stored_bytes'] / one['trainable_bytes']:.2f}",
                    mebibytes(size["checkpoint_bytes"]),
                    memory,
                ]
            )
    header = ["strategy", "task", "step (ms)", f"step / step at task {MOMENTS[0]}", "stored",
              "stored / trainable weights", "checkpoint", "memory"]  # fmt: skip
    return table(header, rows)


if __name__ == "__main__":
    start_as_command_line("benchmarks.scaling")
    sys.exit(main())
