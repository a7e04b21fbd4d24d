"""Elastic weight consolidation: weights that mattered to past tasks are held where they were.

Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks": the loss gains
½ · ewc_lambda · Σ_t Σ_i F_ti (θ_i − θ*_ti)², F_t the diagonal Fisher information after task t. The sum over tasks is
one quadratic, A_i (θ_i − c_i)² + const with A = Σ_t F_t and c = Σ_t F_t θ*_t / A: memory and step time do not grow.
"""

from typing import Any, Literal

import torch

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range, Weights, add_pull, diagonal_fisher, generator, to_device


class EWC(Strategy):
    """The penalty's gradient, ewc_lambda · A · (θ − c), is added in closed form before each step.

    Args:
        ewc_lambda: strength, 0 or more; the default is the best of 300, 1,000, 3,000, 10,000 and 30,000 on text_seq's
            dev texts.
        fisher: labels drawn from the model ("sampled"), true ("empirical"), or the expectation over all ("exact").
        fisher_samples: training examples of a task that the Fisher is estimated on.
        decay: 1 keeps every task's penalty in full; below 1 is online EWC (Schwarz et al. 2018): the past Fisher is
            multiplied by it when a task is added and the penalty is centred on the newest weights.
    """

    idle_in_first_task = ("before_step",)
    kept_numbers = 2
    search_spaces = {"ewc_lambda": Range(100.0, 100_000.0, log=True)}

    def __init__(
        self,
        ewc_lambda: float = 3000.0,
        fisher: Literal["sampled", "empirical", "exact"] = "sampled",
        fisher_samples: int = 200,
        decay: float = 1.0,
    ) -> None:
        if ewc_lambda < 0 or fisher_samples < 1 or not 0 <= decay <= 1:
            given = f"ewc_lambda={ewc_lambda}, fisher_samples={fisher_samples}, decay={decay}"
            raise InputError(f"ewc: {given}; allowed: ewc_lambda 0 or more, fisher_samples 1 or more, decay 0 to 1")
        self.ewc_lambda, self.fisher, self.fisher_samples, self.decay = ewc_lambda, fisher, fisher_samples, decay

    def setup(self, learner: Learner) -> None:
        """No penalty before the first task has ended."""
        self.device = learner.device
        self.importance: Weights = {}
        self.centre: Weights = {}

    def before_step(self, learner: Learner) -> None:
        """Add the penalty's gradient to the task's."""
        add_pull(learner, self.importance, self.centre, self.ewc_lambda)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Fold the task's Fisher and weights into the one quadratic."""
        stream = generator(learner.seed, "fisher", task.position)
        chosen = torch.randperm(len(task.train), generator=stream)[: self.fisher_samples].tolist()
        with learner.clock.measure("fisher"):
            fisher = diagonal_fisher(learner, [task.train[i] for i in chosen], self.fisher, stream)
        for name, parameter in learner.named_parameters():
            past, now = self.importance.get(name, torch.zeros_like(fisher[name])), parameter.detach().float()
            self.importance[name] = self.decay * past + fisher[name]
            share = torch.ones_like(now) if self.decay < 1 else fisher[name] / self.importance[name]
            centre = self.centre.get(name, now)
            # Nothing was measured where both are 0; lerp then keeps the centre.
            self.centre[name] = centre.lerp(now, share.nan_to_num(0.0))

    def state_dict(self) -> dict[str, Any]:
        """The quadratic: its curvature and its centre."""
        return {"importance": self.importance, "centre": self.centre}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the quadratic."""
        self.importance = to_device(state["importance"], self.device)
        self.centre = to_device(state["centre"], self.device)
