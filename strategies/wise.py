"""Interpolation: after each task the weights go part of the way back to where the task began.

Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT), applied after every task:
θ ← (1 − coefficient) · θ_before + coefficient · θ_after, θ_before the weights that the task started from.
"""

from typing import Any

import torch

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Choices, DevExamples, Weights, copy_weights, to_device

CANDIDATES = (0.2, 0.4, 0.6, 0.8, 1.0)


class Wise(Strategy):
    """The interpolated weights give the answers, and the next task starts from them.

    Args:
        coefficient: 0 (the task is undone) to 1 (naive); None, the default, takes after each task that of 0.2, 0.4,
            0.6, 0.8 and 1 with the best mean accuracy on the dev examples of all tasks learned so far, the larger one
            of equals. For that the old tasks' dev examples are kept; the choice stands in log.jsonl.
    """

    decides = ("which weights answer",)
    hook_phases = {"after_task": "move"}
    search_spaces = {"coefficient": Choices((None, 0.4, 0.6, 0.8))}

    def __init__(self, coefficient: float | None = None) -> None:
        if coefficient is not None and not 0 <= coefficient <= 1:
            raise InputError(f"wise: {coefficient=}; allowed: 0 to 1, or None to choose it on dev")
        self.coefficient = coefficient
        self.keeps_examples = coefficient is None

    def setup(self, learner: Learner) -> None:
        """Nothing to go back to before the first task."""
        self.device = learner.device
        self.before: Weights = {}
        self.dev = DevExamples()

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Keep the weights that the task starts from."""
        if self.coefficient is None and not task.dev:
            raise InputError(
                f"wise: coefficient=None needs dev examples and task {task.name!r} has none; allowed: 0 to 1"
            )
        self.before = copy_weights(learner)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Go part of the way back."""
        after = {name: value for name, value in copy_weights(learner).items() if name in self.before}
        if self.coefficient is None:
            self.dev.keep(task)
            with learner.clock.measure("train"):
                coefficient = self._choose(learner, task, after)
        else:
            coefficient = self.coefficient
        self._interpolate(learner, after, coefficient)
        self.before = {}

    def _choose(self, learner: Learner, task: TaskData, after: Weights) -> float:
        means: dict[float, float] = {}
        for candidate in CANDIDATES:
            self._interpolate(learner, after, candidate)
            accuracies = self.dev.accuracies(learner, self)
            means[candidate] = sum(accuracies.values()) / len(accuracies)
        best = max(CANDIDATES, key=lambda candidate: (means[candidate], candidate))
        learner.note("interpolation", task=task.name, coefficient=best, mean_dev_accuracy=means[best])
        return best

    @torch.no_grad()
    def _interpolate(self, learner: Learner, after: Weights, coefficient: float) -> None:
        for name, parameter in learner.model.named_parameters():
            if name in after:
                parameter.copy_(self.before[name].lerp(after[name], coefficient))

    def state_dict(self) -> dict[str, Any]:
        """Inside a task the weights it started from, and the dev examples kept."""
        return {"before": self.before, "dev": self.dev.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self.before = to_device(state["before"], self.device)
        self.dev.load_state_dict(state["dev"])
