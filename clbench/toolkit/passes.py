"""Passes over examples outside training's steps, in batches that memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from clbench.data import Example, pass_budget, sorted_batches
from clbench.learner import Learner
from clbench.models import halve_until_it_fits

Result = TypeVar("Result")


def in_passes(
    learner: Learner,
    examples: Sequence[Example],
    work: Callable[[Iterable[list[int]]], Result],
    token_budget: int = 0,
) -> Result:
    """What ``work`` makes of batches of the examples' numbers, longest first; of smaller ones where memory runs out.

    The longest come first, so that memory runs out at once or not at all. The size that fits is kept for later passes,
    and the run's log says so.

    Args:
        learner: the model.
        examples: tokenised texts, or images.
        work: must give the same for any batches but for rounding, and leave nothing behind where it fails.
        token_budget: tokens of one pass, padding included, or images; 0 for what suits the device.
    """
    first = token_budget or learner.pass_budget or pass_budget(examples, learner.device)

    def attempt(budget: int) -> Result:
        if budget < first:
            learner.pass_budget = budget
            learner.note("out_of_memory", pass_budget=budget)
        return work(sorted_batches(examples, budget))

    return halve_until_it_fits(attempt, first)
