"""EWC whose Fisher takes the label that the model predicts, as several papers' code does; for their figures alone.

It is no Fisher information: the prediction is the likeliest label, and its gradient the smallest one. What comes out is
far smaller than the expectation over labels, so that a strength which was chosen with it is none for the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from clbench.strategies.ewc import EWC

from clbench import Learner, TaskData
from clbench.toolkit.passes import in_passes


class PredictedEWC(EWC):  # type: ignore[misc]
    """All but the labels is the strategy ``ewc``.

    Args:
        ewc_lambda: see ``ewc``.
        fisher_samples: see ``ewc``; by default all examples of a task, which are fewer.
        decay: see ``ewc``.
    """

    def __init__(self, ewc_lambda: float = 3000.0, fisher_samples: int = 60_000, decay: float = 1.0) -> None:
        super().__init__(ewc_lambda, "empirical", fisher_samples, decay)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Fold in the Fisher of the predictions, which stand in the labels' place."""
        labels = predicted(learner, task)
        examples = [{**example, "label": label} for example, label in zip(task.train, labels, strict=True)]
        super().after_task(learner, replace(task, train=examples))


@torch.no_grad()
def predicted(learner: Learner, task: TaskData) -> list[int]:
    """The label that the model gives each training example, among those that training scores."""
    learner.model.eval()

    def labels(batches: Iterable[list[int]]) -> dict[int, int]:
        found: dict[int, int] = {}
        for numbers in batches:
            batch = learner.collate([task.train[i] for i in numbers])
            best = learner.mask(learner.logits(batch), batch["task_ids"]).argmax(1).tolist()
            found |= dict(zip(numbers, best, strict=True))
        return found

    found = in_passes(learner, task.train, labels)
    learner.model.train()
    return [found[i] for i in range(len(task.train))]
