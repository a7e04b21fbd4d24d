"""Strategies that change nothing: stacked with the one that is checked, they trace a run or cut it off."""

from __future__ import annotations

from typing import Any

from clbench.conformance.fingerprints import model_fingerprint
from clbench.data import TaskData
from clbench.learner import Learner
from clbench.strategy import Stack, Strategy


class Cut(Exception):
    """The run ends here, as if the process had been killed."""


class Probe(Strategy):
    """Knows which step of which task the run is at, also after a resume."""

    task = ""
    step = 0

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """A new task begins."""
        self.task, self.step = task.name, 0

    def after_step(self, learner: Learner) -> None:
        """One step more."""
        self.step += 1

    def state_dict(self) -> dict[str, Any]:
        """Task and step."""
        return {"task": self.task, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore task and step."""
        self.task, self.step = state["task"], state["step"]


class Trace(Probe):
    """Notes a fingerprint of the weights after every step and every task in ``weights``, in the order of training."""

    def __init__(self, weights: dict[str, str]) -> None:
        self.weights = weights

    def after_step(self, learner: Learner) -> None:
        """The weights that the optimizer, and the strategy after it, left."""
        super().after_step(learner)
        self.weights[f"after step {self.step} of {self.task}"] = model_fingerprint(learner.model)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """The weights that the strategy's own ``after_task`` left."""
        self.weights[f"at the end of {task.name}"] = model_fingerprint(learner.model)


class Cuts(Probe):
    """Cuts the run off once at every kind of place: before and after each task, in its steps.

    All steps of the second task are places, and of the others, which differ by what was learned before, one.

    Args:
        done: the places that were cut at, shared by the runs that go on after each other.
        only: the one place to cut at; empty for all.
    """

    in_each_step = False

    def __init__(self, done: set[str], only: str = "") -> None:
        self.done, self.only = done, only

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Between two tasks."""
        super().before_task(learner, task)
        self.in_each_step = task.position == 1
        self._cut(f"before {task.name}")

    def before_step(self, learner: Learner) -> None:
        """Inside a step: what the strategy has done in it is lost."""
        if self.in_each_step or self.step == 1:
            self._cut(f"in step {self.step + 1} of {self.task}")

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Before the evaluation."""
        self._cut(f"after {task.name}")

    def _cut(self, place: str) -> None:
        if place not in self.done and self.only in ("", place):
            self.done.add(place)
            raise Cut(place)


class Observed(Stack):
    """A stack whose state is not saved, so that a fault in ``state_dict`` does not end a run that looks for others."""

    def __init__(self, *members: Strategy) -> None:
        super().__init__([(str(number), member) for number, member in enumerate(members)])

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}
