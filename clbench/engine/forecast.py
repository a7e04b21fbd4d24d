"""How long a run's evaluations will take, told before the first step: they grow with the square of the tasks."""

from __future__ import annotations

import time

import torch

from clbench.data import pass_budget, sorted_batches
from clbench.engine.preparation import Prepared

# Below so many forward passes nothing is measured, below so many seconds nothing is said.
FEWEST_PASSES = 20_000
FEWEST_SECONDS = 120.0


def forecast(prepared: Prepared) -> str | None:
    """A line on how long all evaluations will take; None where they are short."""
    passes = test_passes(prepared)
    if passes < FEWEST_PASSES:
        return None
    seconds = passes * _seconds_of_a_pass(prepared)
    if seconds < FEWEST_SECONDS:
        return None
    what = "test texts" if prepared.learner.longest_text else "test examples"
    return (
        f"the evaluations of this run take up to {passes:,} forward passes of {what}, about {seconds / 60:.0f} minutes "
        "here; fewer with --limit or --evaluate seen"
    )


def test_passes(prepared: Prepared) -> int:
    """Forward passes of test examples in the whole run, dev examples that a strategy measures left out."""
    strategy, labels, count = prepared.strategy, prepared.learner.labels, len(prepared.tests)
    rows = [row for row in range(count + 1) if row == 0 or strategy.training_tasks(row - 1, count)]
    if prepared.config.evaluate == "seen":
        measured = [[row for row in rows if position < row] for position in range(count)]
    else:
        measured = [rows] * count
    evaluations = [sum(labels.answerable(position, row) for row in measured[position]) for position in range(count)]
    return sum(len(test) * strategy.test_passes(times) for test, times in zip(prepared.tests, evaluations, strict=True))


@torch.inference_mode()
def _seconds_of_a_pass(prepared: Prepared) -> float:
    """Of one example among others, measured on one from each task."""
    learner, examples = prepared.learner, [test[0] for test in prepared.tests if test]
    learner.model.eval()
    numbers = next(iter(sorted_batches(examples, pass_budget(examples, learner.device))))
    batch = learner.collate([examples[number] for number in numbers])
    learner.logits(batch)  # the first pass has to find its way
    started = time.perf_counter()
    learner.logits(batch).cpu()
    return (time.perf_counter() - started) / len(numbers)
