"""Dropout on a schedule: a task begins with little of it, and the rate nears its end value as the steps go on.

Morerio et al. 2017, "Curriculum Dropout": with γ = 10 / T the rate at step t of T is
rate − (rate − start) · exp(−γ t). What is new is learned before it is disturbed; with start above rate it is the other
way round, and start = rate is plain dropout (Srivastava et al. 2014).
"""

import math

from torch import nn

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range

GAMMA = 10.0


class Dropout(Strategy):
    """In place of the run's dropout, in all the model's dropout modules; a model without any is refused.

    Args:
        rate: where the rate goes, 0 to below 1; the one that transformers are pretrained with. Not tuned.
        start: where it begins in each task, 0 to below 1.
    """

    is_recipe = True
    kinds = ("text", "token")
    decides = ("the rate of dropout",)
    search_spaces = {"rate": Range(0.0, 0.5)}

    def __init__(self, rate: float = 0.1, start: float = 0.0) -> None:
        for name, value in (("rate", rate), ("start", start)):
            if not 0 <= value < 1:
                raise InputError(f"dropout: {name}={value}; allowed: 0 to below 1")
        self.rate, self.start = rate, start

    def setup(self, learner: Learner) -> None:
        """Find the modules."""
        self.learner = learner
        self.modules = [m for m in learner.model.modules() if isinstance(m, nn.Dropout)]
        if not self.modules:
            raise InputError(
                f"dropout: {type(learner.model).__name__} has no dropout modules; allowed: models with some"
            )
        self.usual = [module.p for module in self.modules]

    def train_batch(self, batch: Batch) -> Batch:
        """Set the step's rate."""
        decay = math.exp(-GAMMA * self.learner.step / max(1, self.learner.steps))
        for module in self.modules:
            module.p = self.rate - (self.rate - self.start) * decay
        return batch

    def after_steps(self, learner: Learner, task: TaskData) -> None:
        """Back to the model's own, as what comes after the steps would have it."""
        for module, rate in zip(self.modules, self.usual, strict=True):
            module.p = rate
