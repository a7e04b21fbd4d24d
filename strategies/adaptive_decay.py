"""Adaptive decay: weight decay grows while a task's dev loss rises, and shrinks again while it falls.

A rule of practice, of no paper: at evenly spaced steps the dev loss is measured, and the run's weight decay is
multiplied by ``step`` where the loss is higher than at the measurement before, else divided by it; never below
the run's own, nor above ``most`` times it. Each task begins with the run's own.
"""

import math
from typing import Any

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range, mean_loss, time_to_measure


class AdaptiveDecay(Strategy):
    """A run without weight decay is refused, and a task without dev examples keeps the run's.

    Args:
        step: the factor of one change, above 1; not tuned.
        most: the largest factor, 1 or more; not tuned.
        checks: measurements in a task that takes all its steps, 2 or more; not tuned.
    """

    is_recipe = True
    search_spaces = {"step": Range(1.2, 10.0, log=True)}

    def __init__(self, step: float = 2.0, most: float = 32.0, checks: int = 10) -> None:
        for name, value, right, allowed in (
            ("step", step, step > 1, "above 1"),
            ("most", most, most >= 1, "1 or more"),
            ("checks", checks, checks > 1, "2 or more"),
        ):
            if not right:
                raise InputError(f"adaptive_decay: {name}={value}; allowed: {allowed}")
        self.growth, self.most, self.checks = step, most, checks

    def setup(self, learner: Learner) -> None:
        """Nothing is measured yet."""
        self.learner = learner
        self.factor = 1.0
        self.last: float | None = None
        self.usual: list[float] = []
        self.multiplies = True

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """From the run's own decay again."""
        self.factor, self.last = 1.0, None

    def parameter_groups(self, learner: Learner, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Refuse a run without weight decay; a task in which head and biases alone learn has none either way."""
        decayed = any(
            parameter.ndim > 1 and not learner.is_head(name) for name, parameter in learner.named_parameters()
        )
        if decayed and not any(group["weight_decay"] for group in groups):
            raise InputError("adaptive_decay multiplies the weight decay, and no weight that learns has any")
        self.multiplies = decayed
        self.usual = []  # the optimizer is new, also where a run is resumed
        return groups

    def train_batch(self, batch: Batch) -> Batch:
        """Let the step have its decay."""
        self.usual = self.usual or [group["weight_decay"] for group in self.learner.parameter_groups]
        for group, usual in zip(self.learner.parameter_groups, self.usual, strict=True):
            group["weight_decay"] = usual * self.factor
        return batch

    def stop(self, learner: Learner, task: TaskData) -> bool:
        """Measure, if it is time to; never the end of the task."""
        now = bool(task.dev) and time_to_measure(learner, self.checks)
        if now and math.isfinite(loss := mean_loss(learner, task.dev)):
            if self.last is not None:
                changed = self.factor * self.growth if loss > self.last else self.factor / self.growth
                self.factor = min(self.most, max(1.0, changed))
            self.last = loss
        return False

    def after_steps(self, learner: Learner, task: TaskData) -> None:
        """Note how large it became; None where no weight with decay learned."""
        learner.note("adaptive_decay", task=task.name, last_factor=self.factor if self.multiplies else None)

    def state_dict(self) -> dict[str, Any]:
        """The factor, and the last dev loss."""
        return {"factor": self.factor, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self.factor, self.last = state["factor"], state["last"]
