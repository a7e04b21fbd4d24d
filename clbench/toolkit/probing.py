"""One row of the probe's matrix: what a linear classifier of each task's features gets right on its test set.

Davari et al. 2022, "Probing representation forgetting in supervised and unsupervised continual learning": where the
output layer answers an old task wrong and a new linear layer on the same features answers it right, the representation
was not forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from clbench.data import IGNORE, Example, TaskData
from clbench.learner import Learner
from clbench.strategy import Strategy
from clbench.toolkit.linear_probe import Examples, probe_accuracy
from clbench.toolkit.passes import in_passes


def probe_tasks(
    learner: Learner, strategy: Strategy, tasks: Sequence[TaskData], tests: Sequence[Sequence[Example]]
) -> list[float | None]:
    """The accuracy of a linear probe for each task, None where its test set is empty.

    The probe is fitted to the features of the task's own train set, whatever else is kept of it, and knows its labels
    alone, so that it can be had in every setting and before the task is learned. Features are what the output layer
    reads; where a strategy answers with a task's own weights or modules, theirs. Of a text with a label for each word
    each word is an example.

    Args:
        learner: the model.
        strategy: may answer in the model's place.
        tasks: whose train sets are read.
        tests: each task's test set.
    """
    learner.model.eval()
    return [
        _probe_task(learner, strategy, task, test) if test else None for task, test in zip(tasks, tests, strict=True)
    ]


@torch.inference_mode()
def _probe_task(learner: Learner, strategy: Strategy, task: TaskData, test: Sequence[Example]) -> float:
    model = _answering_model(learner, strategy, task)
    return probe_accuracy(read_features(learner, task.train, model), read_features(learner, test, model))


def _answering_model(learner: Learner, strategy: Strategy, task: TaskData) -> nn.Module:
    """The model that answers for ``task``."""
    if not strategy.answers:
        return learner.model
    task_id = task.position if learner.labels.setting == "task" or strategy.routing else None
    batch = learner.collate(task.train[:1])
    del batch["labels"]
    strategy.predict(learner, batch, task_id)
    found = strategy.deployable(learner, task_id)
    return learner.model if found is None else found.model


def read_features(learner: Learner, examples: Sequence[Example], model: nn.Module | None = None) -> Examples:
    """What the output layer reads, fp64, on the CPU, of each example in order, or of each of its words with a label."""

    def collect(batches: Iterable[list[int]]) -> Examples:
        features, labels, places = [], [], []
        for numbers in batches:
            batch = learner.collate([examples[number] for number in numbers])
            read, own = learner.logits_and_features(batch, model)[1], batch["labels"]
            counts = torch.ones(len(numbers), dtype=torch.long)
            if own.ndim == 2:
                counts = (own != IGNORE).sum(1).cpu()
                read, own = read[own != IGNORE], own[own != IGNORE]
            features.append(read.double().cpu())
            labels.append(own.cpu())
            places.append(torch.tensor(numbers).repeat_interleave(counts))
        order = torch.cat(places).argsort(stable=True)  # the batches come longest first
        return Examples(torch.cat(features)[order], torch.cat(labels)[order])

    return in_passes(learner, examples, collect)
