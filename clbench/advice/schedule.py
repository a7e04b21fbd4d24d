"""How the budget is shared out: which sizes of data are raced on, for how long, and how many come to the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from clbench.advice.runner import Size
from clbench.errors import InputError

FINAL = Size("final", None, None, "test")
FULL = Size("race, all data", None, None, "dev")
# Shares of the training data, and steps a task at least, of the first stage: the largest in which all have a turn.
FIRST_STAGES = ((1 / 4, 12), (1 / 8, 12), (1 / 16, 6), (1 / 32, 6))
SECOND_STAGE = (1 / 2, 24)
LEAST_TEXTS = 24  # of a task: fewer teach nothing
MOST_FINALISTS = 3
FINAL_SHARE = 0.6  # of the budget at most, for the final
FIRST_SHARE = 0.6  # of the race's time, for its first stage; of the budget, where even the smallest asks for more
USUAL_OVERHEAD = 1.3  # of a strategy that has not been measured: the mean of the published ones


@dataclass(frozen=True)
class Schedule:
    """How a race goes on.

    Attributes:
        stages: their sizes.
        racing: seconds of the budget after which the final begins.
        finalists: at most.
        seconds: what naive takes at a size.
    """

    stages: tuple[Size, ...]
    racing: float
    finalists: int
    seconds: Callable[[Size], float]


def ladders(most: int) -> list[tuple[Size, ...]]:
    """Sizes from few data to all for tasks of at most so many training examples; the largest first stage first."""

    def size(share: float, steps: int) -> Size:
        limit = max(LEAST_TEXTS, ceil(share * most))
        return Size(f"race, {limit} examples a task", limit, steps, "dev") if limit < most else FULL

    return [tuple(dict.fromkeys((size(*first), size(*SECOND_STAGE), FULL))) for first in FIRST_STAGES]


def final_seconds(finalists: int, seconds: Callable[[Size], float], references: int, seeds: int) -> float:
    """What the final takes with so many finalists."""
    return seconds(FINAL) * (references + USUAL_OVERHEAD * finalists) * seeds


def count_finalists(left: float, seconds: Callable[[Size], float], references: int, seeds: int) -> int:
    """How many finalists ``left`` seconds are enough for; at least one."""
    fitting = (n for n in range(MOST_FINALISTS, 1, -1) if final_seconds(n, seconds, references, seeds) <= left)
    return next(fitting, 1)


def make_schedule(
    sizes: Sequence[tuple[Size, ...]],
    seconds: Callable[[Size], float],
    budget: float,
    references: int,
    candidates: int,
    seeds: int,
    spent: float = 0.0,
) -> Schedule:
    """Share out ``budget`` seconds, so that every candidate has a turn in the first stage wherever that is possible.

    The final is given the time of all seeds, at most :data:`FINAL_SHARE`; the rest is the race's. The first stage is
    the largest in which all candidates, each at :data:`USUAL_OVERHEAD` times naive, fit into :data:`FIRST_SHARE` of
    the race's time. Where the smallest does not fit, the race takes from the final, which has fewer seeds then.

    Args:
        sizes: of :func:`ladders`.
        seconds: what naive takes at a size.
        budget: in seconds, without what is spent already.
        references, candidates, seeds: how many there are.
        spent: seconds that are gone already, for the line that says which budget would do.

    Raises:
        InputError: there is no time for one seed of the references and one finalist.
    """
    least = seconds(FINAL) * (references + USUAL_OVERHEAD)
    if least > budget:
        enough = ceil((spent + least) / 60)
        raise InputError(
            f"the budget is too small: one seed of the references and a strategy needs about {least:.0f}s more, "
            f"and {max(budget, 0):.0f}s are left; give --budget {enough}m or more"
        )

    finalists = count_finalists(FINAL_SHARE * budget, seconds, references, seeds)
    final = final_seconds(finalists, seconds, references, seeds)
    racing = budget - max(least, min(final, FINAL_SHARE * budget))
    needed = {ladder: USUAL_OVERHEAD * candidates * seconds(ladder[0]) for ladder in sizes}
    fitting = [ladder for ladder in sizes if needed[ladder] <= FIRST_SHARE * racing]
    if fitting:
        return Schedule(fitting[0], racing, finalists, seconds)
    racing = max(racing, min(needed[sizes[-1]], FIRST_SHARE * budget, budget - least))
    return Schedule(sizes[-1], racing, finalists, seconds)
