"""A task that an earlier start of the script has ended: its Trainer does not train again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from clbench.data import TaskData

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
