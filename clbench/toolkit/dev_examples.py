"""The dev examples of the tasks learned so far, kept to measure the model on; nothing is learned from them."""

from __future__ import annotations

from typing import Any

from clbench.data import TaskData
from clbench.learner import Learner
from clbench.strategy import Strategy
from clbench.toolkit.buffer import ExampleBuffer
from clbench.toolkit.evaluator import evaluate_all

# More than there can be: a reservoir that is never full keeps everything and draws no random number.
NO_LIMIT = 2**62


class DevExamples:
    """Keeps dev examples from task to task; for strategies that look at how much the model still knows."""

    def __init__(self) -> None:
        self.buffer = ExampleBuffer(NO_LIMIT, "reservoir", 0)

    def keep(self, task: TaskData) -> None:
        """Add a task's dev examples."""
        self.buffer.add(task.dev)

    def accuracies(self, learner: Learner, strategy: Strategy) -> dict[int, float]:
        """What is measured (accuracy, ...) on each kept task's dev examples, by the task's position.

        Args:
            learner: the model as it is now; its training mode is put back.
            strategy: may answer in the model's place.
        """
        was_training = learner.model.training
        kept = self.buffer.examples
        by_task = [[example for example in kept if example["task_id"] == p] for p in range(learner.tasks)]
        try:
            evaluations = evaluate_all(learner, strategy, by_task)
        finally:
            learner.model.train(was_training)
        return {position: found.score for position, found in enumerate(evaluations) if found is not None}

    def state_dict(self) -> dict[str, Any]:
        """The examples."""
        return self.buffer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the examples."""
        self.buffer.load_state_dict(state)
