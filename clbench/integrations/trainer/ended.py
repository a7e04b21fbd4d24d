"""A task that an earlier start of the script has ended: its Trainer does not train again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from clbench.data import TaskData
from clbench.errors import InputError
from clbench.learner import Learner

MISSING = object()


class EndedTask:
    """In the place of a task's hooks; ``train()`` of the Trainer returns at once.

    Attributes:
        done: there is nothing left to train.
    """

    done = True

    def __init__(self, trainer: Any, task: TaskData) -> None:
        self.trainer, self.task = trainer, task
        self.kept = replace(trainer, {"train": self.train})

    def train(self, *_: Any, **__: Any) -> Any:
        """No step, no loss."""
        from transformers.trainer_utils import TrainOutput

        return TrainOutput(0, math.nan, {})

    def detach(self) -> None:
        """Leave the Trainer as it was."""
        put_back(self.trainer, self.kept)


def replace(trainer: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Set attributes of this one object; what it had itself, for :func:`put_back`."""
    kept = {name: vars(trainer).get(name, MISSING) for name in values}
    for name, value in values.items():
        setattr(trainer, name, value)
    return kept


def put_back(trainer: Any, kept: Mapping[str, Any]) -> None:
    """Undo :func:`replace`."""
    for name, value in kept.items():
        if value is MISSING:
            delattr(trainer, name)
        else:
            setattr(trainer, name, value)


def check_ended(tasks: list[str], data: Mapping[str, str], learner: Learner, task: TaskData, found: str) -> None:
    """Refuse a task that is another one than that of the same turn before.

    Args:
        tasks: the names of those that have ended.
        data: SHA-256 of their data, by name.
        learner: with their labels.
        task: the one that is attached.
        found: SHA-256 of its data.

    Raises:
        InputError: its name, data or labels differ.
    """
    expected = tasks[task.position]
    if task.name != expected:
        raise InputError(f"attach(task={task.name!r}): state_dir has ended {', '.join(tasks)}; allowed: {expected!r}")
    if data[expected] != found or learner.labels.columns[task.position] != task.columns:
        fault = "its data or labels are not those that it was trained on"
        raise InputError(f"attach(task={task.name!r}): {fault}; allowed: the same, or a state_dir that is new")
