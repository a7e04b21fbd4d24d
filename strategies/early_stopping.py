"""Early stopping: a task ends where its dev loss no longer falls, and goes back to the weights that were best.

Prechelt 1998, "Early Stopping — But When?": training goes on past the point from which it only fits the training set;
the weights with the lowest loss on dev are the ones to keep. What a task does not move it does not forget. The loss is
measured at evenly spaced steps, the last among them; after ``patience`` measurements in a row without a new lowest one
the task ends.
"""

import math
from typing import Any

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range, Weights, copy_weights, mean_loss, put_weights, time_to_measure, to_device


class EarlyStopping(Strategy):
    """A task without dev examples takes all its steps. The schedule of the rates is that of all steps.

    Args:
        patience: measurements without improvement, 1 or more; not tuned.
        checks: measurements in a task that takes all its steps, 1 or more; not tuned.
    """

    is_recipe = True
    decides = ("when a task ends",)
    hook_phases = {"after_steps": "restore"}
    search_spaces = {"patience": Range(1, 5)}
    best: Weights
    lowest: float | None

    def __init__(self, patience: int = 3, checks: int = 10) -> None:
        for name, value in (("patience", patience), ("checks", checks)):
            if value < 1:
                raise InputError(f"early_stopping: {name}={value}; allowed: 1 or more")
        self.patience, self.checks = patience, checks

    def setup(self, learner: Learner) -> None:
        """Nothing is measured yet."""
        self.device = learner.device
        self._restart()

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Each task is measured by itself."""
        self._restart()

    def stop(self, learner: Learner, task: TaskData) -> bool:
        """Measure, if it is time to, and keep the weights if they are the best."""
        if not task.dev or not time_to_measure(learner, self.checks):
            return False
        loss = mean_loss(learner, task.dev)
        if math.isfinite(loss) and (self.lowest is None or loss < self.lowest):
            self.lowest, self.step, self.waited = loss, learner.step + 1, 0
            self.best = copy_weights(learner)
        else:
            self.waited += 1
        return self.waited >= self.patience

    def after_steps(self, learner: Learner, task: TaskData) -> None:
        """Put the best weights back, and note which step's they are."""
        if self.best:
            put_weights(learner, self.best)
            taken = learner.step + 1
            text = f"early_stopping: {task.name} took {taken} of {learner.steps} steps, the best was {self.step}"
            told = {"best_step": self.step, "steps": taken, "dev_loss": self.lowest, "text": text}
            learner.note("early_stopping", task=task.name, **told)
        self._restart()

    def _restart(self) -> None:
        self.best, self.lowest, self.step, self.waited = {}, None, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """The best weights of the task in training, and how they were found."""
        return {"best": self.best, "lowest": self.lowest, "step": self.step, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self.best = to_device(state["best"], self.device)
        self.lowest, self.step, self.waited = state["lowest"], state["step"], state["waited"]
