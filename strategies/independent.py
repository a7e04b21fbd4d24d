"""Reference: a fresh copy of the pretrained model for every task; no forgetting and no sharing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from clbench import Batch, Learner, Strategy, TaskData


class Independent(Strategy):
    """Each task is learned from the pretrained weights; its own copy answers for it.

    A task that is still to come is answered by the untrained model, so forward transfer is 0.
    """

    settings = ("task",)
    alone = "independent gives every task its own model, so there is nothing to remember"

    def setup(self, learner: Learner) -> None:
        """Keep the weights that every task starts from; they are made again from the seed, not stored."""
        self.learner = learner
        self.start = _copy(learner)
        self.learned: dict[str, dict[str, Tensor]] = {}
        self.loaded = -1

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Start afresh."""
        learner.model.load_state_dict(self.start)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Keep this task's model."""
        self.learned[str(task.position)] = _copy(learner)
        self.loaded = task.position

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """Answer with the task's own model."""
        if self.loaded != task_id:
            assert task_id is not None
            learner.model.load_state_dict(self.learned.get(str(task_id), self.start))
            self.loaded = task_id
        return learner.logits(batch)

    @contextmanager
    def outside_tasks(self, learner: Learner) -> Iterator[None]:
        """The pretrained model."""
        before = _copy(learner)
        try:
            learner.model.load_state_dict(self.start)
            yield
        finally:
            learner.model.load_state_dict(before)

    def state_dict(self) -> dict[str, Any]:
        """Every learned task's weights."""
        return {"learned": self.learned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the learned tasks' weights."""
        self.learned, self.loaded = state["learned"], -1


def _copy(learner: Learner) -> dict[str, Tensor]:
    with torch.no_grad():
        return {name: value.detach().clone() for name, value in learner.model.state_dict().items()}
