"""L1: every weight is pulled by the same force, towards 0 or towards its pretrained value, and most stay there.

Tibshirani 1996, "Regression Shrinkage and Selection via the Lasso": the loss gains strength · Σ_i |θ_i − θ*_i|, whose
(sub)gradient is strength · sign(θ − θ*). With anchor="pretrained" θ* are the weights that the first task started from,
L1 in the place of the square in L2-SP (Li et al. 2018, "Explicit Inductive Bias for Transfer Learning"): a sparse
change of the model overwrites less of what earlier tasks wrote.
"""

from typing import Any, Literal

import torch

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range, Weights, copy_weights, to_device


class L1(Strategy):
    """As with the run's weight decay, biases, norms and the head are free.

    Args:
        strength: above 0; not tuned.
        anchor: "pretrained" or "zero", the lasso's own, which unlearns what was pretrained.
    """

    is_recipe = True
    hook_phases = {"before_task": "read"}
    search_spaces = {"strength": Range(1e-6, 1e-3, log=True)}

    def __init__(self, strength: float = 1e-5, anchor: Literal["pretrained", "zero"] = "pretrained") -> None:
        if strength <= 0:
            raise InputError(f"l1: {strength=}; allowed: above 0")
        self.strength, self.anchor = strength, anchor

    def setup(self, learner: Learner) -> None:
        """No anchor yet."""
        self.device = learner.device
        self.centre: Weights = {}

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Note where weights that begin to learn are; those of earlier tasks keep their anchor."""
        if self.anchor == "pretrained":
            own = {name for name, p in learner.named_parameters() if p.ndim > 1 and not learner.is_head(name)}
            fresh = copy_weights(learner)
            self.centre |= {name: fresh[name] for name in fresh if name in own and name not in self.centre}

    @torch.no_grad()
    def before_step(self, learner: Learner) -> None:
        """Add the penalty's gradient to the task's."""
        for name, parameter in learner.named_parameters():
            if parameter.grad is None or parameter.ndim < 2 or learner.is_head(name):
                continue
            away = parameter - self.centre[name] if name in self.centre else parameter
            parameter.grad.add_(away.sign(), alpha=self.strength)

    def state_dict(self) -> dict[str, Any]:
        """The anchor."""
        return {"centre": self.centre}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.centre = to_device(state["centre"], self.device)
