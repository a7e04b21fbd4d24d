"""How the budget is shared out: which sizes of data are raced on, for how long, and how many come to the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from clbench.advice.runner import Size
from clbench.errors import InputError

FINAL = Size("final", None, None, "test")
FULL = Size("race, all data", None, None, "dev")
# Shares of the training data, and steps a task at least, of the first stage; the largest that the budget allows.
FIRST_STAGES = ((1 / 4, 12), (1 / 8, 12), (1 / 16, 6))
SECOND_STAGE = (1 / 2, 24)
LEAST_TEXTS = 24  # of a task: fewer teach nothing
LEAST_FIELD = 12  # candidates that the first stage must have time for
MOST_FINALISTS = 3
FINAL_SHARE = 0.6  # of the budget at most, for the final
FIRST_SHARE = 0.6  # of the race's time, for its first stage
USUAL_OVERHEAD = 1.3  # of a strategy that has not been measured


@dataclass(frozen=True)
class Schedule:
    """The sizes of the race's stages, the seconds of the budget after which the final begins, the finalists at most."""

    stages: tuple[Size, ...]
    racing: float
    finalists: int


def ladders(most: int) -> list[tuple[Size, ...]]:
    """Sizes from few data to all for tasks of at most so many training examples; the largest first stage first."""

    def size(share: float, steps: int) -> Size:
        limit = max(LEAST_TEXTS, ceil(share * most))
        return Size(f"race, {limit} examples a task", limit, steps, "dev") if limit < most else FULL

    return [tuple(dict.fromkeys((size(*first), size(*SECOND_STAGE), FULL))) for first in FIRST_STAGES]


def make_schedule(
    sizes: Sequence[tuple[Size, ...]],
    seconds: Callable[[Size], float],
    budget: float,
    references: int,
    candidates: int,
    seeds: int,
) -> Schedule:
    """Share out ``budget`` seconds.

    Args:
        sizes: of :func:`ladders`.
        seconds: what naive takes at a size.
        budget: in seconds, without what is spent already.
        references, candidates, seeds: how many there are.

    Raises:
        InputError: there is no time for one seed of the references and one finalist.
    """
    least = seconds(FINAL) * (references + USUAL_OVERHEAD)
    if least > budget:
        raise InputError(
            f"the budget is too small: one seed of the references and a strategy needs about {least:.0f}s more"
        )

    def final(finalists: int) -> float:
        return seconds(FINAL) * (references + USUAL_OVERHEAD * finalists) * seeds

    finalists = next((n for n in range(MOST_FINALISTS, 1, -1) if final(n) <= FINAL_SHARE * budget), 1)
    racing = budget - max(least, min(final(finalists), FINAL_SHARE * budget))
    wanted = USUAL_OVERHEAD * min(candidates, LEAST_FIELD)
    fitting = [ladder for ladder in sizes if seconds(ladder[0]) * wanted <= FIRST_SHARE * racing]
    return Schedule(fitting[0] if fitting else sizes[-1], racing, finalists)
