"""A schedule of the learning rates of each task: cosine, steps, one cycle, constant or linear.

The factor of the peak rates at step t of T, with w = warmup · T steps of warm-up in which it rises linearly (as
(t + 1) / w), and s = (t − w) / (T − w) the share of the rest that is behind:

- "linear": 1 − s; "constant": 1
- "cosine": (1 + cos πs) / 2, Loshchilov & Hutter 2017, "SGDR", equation 5 without restarts
- "step": a tenth from s = 1/2 on, a hundredth from s = 3/4 on, as He et al. 2016, "Deep Residual Learning"
- "one_cycle": from 1/25 up to 1 and down to 1/250000, both by half a cosine, Smith & Topin 2019, "Super-Convergence",
  as torch's OneCycleLR with its default numbers; the momentum stays
"""

import math
from typing import Literal

from clbench import Strategy
from clbench.errors import InputError
from clbench.toolkit import Choices, learning_rate_factor

FIRST, LAST = 1 / 25, 1 / 250_000  # of one cycle


class Schedule(Strategy):
    """In place of the run's own schedule and warm-up; a high rate at a task's start is what moves old features most.

    Args:
        kind: "cosine", "step", "one_cycle", "constant" or "linear"; not tuned.
        warmup: share of a task's steps in which the rates rise, 0 to below 1; by default 0.1, as a run's, and
            0.3 with one cycle. The run's own is not looked at.
    """

    is_recipe = True
    decides = ("the schedule of the learning rates",)
    search_spaces = {"kind": Choices(("cosine", "step", "one_cycle", "constant", "linear"))}

    def __init__(
        self,
        kind: Literal["cosine", "step", "one_cycle", "constant", "linear"] = "cosine",
        warmup: float | None = None,
    ) -> None:
        if warmup is not None and not 0 <= warmup < 1:
            raise InputError(f"schedule: {warmup=}; allowed: 0 to below 1")
        self.kind = kind
        self.warmup = (0.3 if kind == "one_cycle" else 0.1) if warmup is None else warmup

    def learning_rate_factor(self, step: int, steps: int) -> float:
        """The factor of the peak rates."""
        if self.kind == "one_cycle":
            return _one_cycle(step, steps, self.warmup)
        if self.kind != "step":
            return learning_rate_factor(step, steps, self.warmup, self.kind)
        rising = round(self.warmup * steps)
        behind = (step - rising) / max(1, steps - rising)
        if step < rising:
            return (step + 1) / rising
        return 1.0 if behind < 1 / 2 else 0.1 if behind < 3 / 4 else 0.01


def _one_cycle(step: int, steps: int, warmup: float) -> float:
    top, end = warmup * steps - 1, steps - 1
    if step <= top:
        return _between(FIRST, 1.0, step / top if top > 0 else 1.0)
    return _between(1.0, LAST, (step - max(top, 0.0)) / max(end - max(top, 0.0), 1e-9))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
