"""What a training step takes of memory: the estimate of `run --dry-run` against what processes took.

``python -m benchmarks.memory`` writes memory.json and memory.md into results/, in a few minutes on a CPU.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.memory_case import LARGE, SMALL, STEPS, Case, Shape, measure, predict
from benchmarks.report import describe, table, write_report
from benchmarks.timing import prepare_process
from clbench.engine import MemoryEstimate

# Blocks from this size on come from the kernel and go back at once, so that what is resident is what is in use.
BLOCK = "65536"
PRELOADED = ["benchmarks.warm", "benchmarks.memory_case"]
MIB = 2**20

NOTES = """
Predicted is the estimate that `run --dry-run` prints, `clbench.engine.estimate_memory`: from shapes, with nothing
allocated. Weights, gradients, the optimizer's state (AdamW's two numbers a weight) and the strategy's are counted;
activations are the most that is alive above them in one forward and backward pass on fake tensors.

Measured is resident memory as Linux counts it, in a new process a row, whose malloc takes each block of 64 KiB or more
from the kernel and gives it back at once (`MALLOC_MMAP_THRESHOLD_`). First the process learns from a model of a few
thousand weights, since code and workspaces come with the first step; what is resident then is subtracted. Then it
learns two tasks of {steps} steps. "steps" is the peak in the steps of the second, when the strategy has what it keeps
of the first; "all" is the peak of everything: building the model, the Fisher pass, the steps of both tasks. Sizes are
in MiB, the last column is predicted / measured in the steps."""
LARGE_NOTES = """
Predicted only: no such model was allocated, loaded or trained here. Sizes are in GiB."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results"))
    options = parser.parse_args(given)
    os.environ.update({"MALLOC_MMAP_THRESHOLD_": BLOCK, "MALLOC_TRIM_THRESHOLD_": BLOCK, "OMP_NUM_THREADS": "1"})
    device = prepare_process("cpu", 1)
    predicted, large = [predict(case) for case in SMALL], [predict(case) for case in LARGE]
    print(*(estimate.line() for estimate in (*predicted, *large)), sep="\n", file=sys.stderr, flush=True)
    measured = measure_apart(SMALL)
    environment = describe("benchmarks.memory", given, device, 1)
    commit = (environment["commit"] or "unknown")[:12] + (" with changes" if environment["dirty"] else "")
    lines = [
        *("# Memory of a training step: predicted and measured", ""),
        f"Made by `{environment['command']}` at commit {commit} on {environment['hardware']['processor']}, one thread.",
        *NOTES.format(steps=STEPS).splitlines(),
        "",
        *small_table(predicted, measured),
        "",
        *("## Llama-7B's shape", ""),
        *(shape_line(LARGE[0].shape), *LARGE_NOTES.splitlines(), ""),
        *large_table(large),
        "",
        *("## The shapes", "", *(f"- {shape_line(shape)}" for shape in dict.fromkeys(case.shape for case in SMALL))),
    ]
    small_data = [row(c, p) | {"measured": m} for c, p, m in zip(SMALL, predicted, measured, strict=True)]
    large_data = [row(case, estimate) for case, estimate in zip(LARGE, large, strict=True)]
    write_report(options.output, "memory", {**environment, "small": small_data, "large": large_data}, lines)
    return 0


def measure_apart(cases: Sequence[Case]) -> list[dict[str, int]]:
    """Each case in a process of its own, forked from one that has imported the libraries and done nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    found = []
    with context.Pool(1, maxtasksperchild=1) as pool:
        for case in cases:
            found.append(pool.apply(measure, (case,)))
            print(f"{name(case)}, {case.shape.name}: {found[-1]}", file=sys.stderr, flush=True)
    return found


def name(case: Case) -> str:
    """The strategy and how it is trained."""
    return (
        case.strategy
        + (", bf16" if case.precision == "bf16" else "")
        + (", checkpointing" if case.checkpointing else "")
        + (", frozen weights in bf16" if case.frozen_precision == "bf16" else "")
    )


def row(case: Case, estimate: MemoryEstimate) -> dict[str, Any]:
    """A case for the JSON file: bytes."""
    return {**asdict(case), "predicted": {**asdict(estimate), "total": estimate.total}}


def small_table(predicted: Sequence[MemoryEstimate], measured: Sequence[dict[str, int]]) -> list[str]:
    """Predicted against measured."""
    header = ["shape", "way", "weights", "gradients", "optimizer", "strategy", "activations", "predicted"]
    rows = []
    for case, estimate, peaks in zip(SMALL, predicted, measured, strict=True):
        taken = [f"{peaks[key] / MIB:.1f}" for key in ("steps", "all")]
        ratio = f"{estimate.total / peaks['steps']:.2f}"
        rows.append([case.shape.name, name(case), *sizes(estimate, MIB), *taken, ratio])
    return table([*header, "measured, steps", "measured, all", "ratio"], rows, 2)


def large_table(predicted: Sequence[MemoryEstimate]) -> list[str]:
    """What cannot be measured here."""
    header = ["way", "weights", "gradients", "optimizer", "strategy", "activations", "predicted"]
    return table(header, [[name(c), *sizes(e, 2**30)] for c, e in zip(LARGE, predicted, strict=True)])


def sizes(estimate: MemoryEstimate, unit: int) -> list[str]:
    """Its parts and their sum."""
    parts = [estimate.weights, estimate.gradients, estimate.optimizer, estimate.strategy, estimate.activations or 0]
    return [f"{size / unit:.1f}" for size in (*parts, estimate.total)]


def shape_line(shape: Shape) -> str:
    """A shape for people."""
    return (
        f"{shape.name}: hidden size {shape.hidden}, {shape.layers} layers, {shape.heads} heads, intermediate size "
        f"{shape.intermediate}, {shape.words} words; {shape.batch} texts of {shape.length} tokens a step, attention "
        f"{shape.attention}, an output layer of 4 labels."
    )


if __name__ == "__main__":
    sys.exit(main())
