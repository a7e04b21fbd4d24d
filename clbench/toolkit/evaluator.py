"""One row of the accuracy matrix: every task's test set, with each prediction kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from sklearn.metrics import accuracy_score, f1_score

from clbench.data import Example
from clbench.learner import Learner
from clbench.strategy import Strategy
from clbench.toolkit.passes import in_passes


@dataclass(frozen=True)
class Evaluation:
    """One task's test set after some task: predicted columns and their probabilities, in the order of the test set."""

    labels: list[int]
    predictions: list[int]
    confidences: list[float]

    @cached_property
    def accuracy(self) -> float:
        """The fraction of right predictions."""
        return float(accuracy_score(self.labels, self.predictions))

    @cached_property
    def macro_f1(self) -> float:
        """The mean of the F1 scores of the task's own labels."""
        present = sorted(set(self.labels))
        return float(f1_score(self.labels, self.predictions, labels=present, average="macro", zero_division=0))


def measurable(learner: Learner, position: int) -> bool:
    """Whether task ``position`` can be answered now: where no task is given, all its labels must have been seen."""
    return learner.labels.answerable(position, learner.tasks_seen)


def evaluate_all(
    learner: Learner, strategy: Strategy, tests: Sequence[Sequence[Example]], token_budget: int = 0
) -> list[Evaluation | None]:
    """Predict every task's test set, the model in eval mode; None where it is empty or cannot be answered yet.

    All tasks are one stream sorted by length; a strategy that answers in the model's place is asked task after task,
    with the task id in the task setting only.

    Args:
        learner: the model.
        strategy: may answer in the model's place.
        tests: each task's test set.
        token_budget: tokens of one forward pass, 0 for what suits the device; halved where memory runs out.
    """
    positions = [position for position, test in enumerate(tests) if test and measurable(learner, position)]
    groups = [[position] for position in positions] if strategy.answers or not positions else [positions]
    rows: list[Evaluation | None] = [None for _ in tests]
    learner.model.eval()
    for group in groups:
        examples = [example for position in group for example in tests[position]]
        predict = partial(_predict, learner, strategy, examples, group)
        predictions, confidences = in_passes(learner, examples, predict, token_budget)
        for position in group:
            labels = [example["label"] for example in tests[position]]
            rows[position] = Evaluation(labels, predictions[: len(labels)], confidences[: len(labels)])
            predictions, confidences = predictions[len(labels) :], confidences[len(labels) :]
    return rows


@torch.inference_mode()
def _predict(
    learner: Learner,
    strategy: Strategy,
    examples: Sequence[Example],
    tasks: Sequence[int],
    batches: Iterable[list[int]],
) -> tuple[list[int], list[float]]:
    """The most probable candidate column of each example, which is of one of ``tasks``, and its probability."""
    given = learner.labels.setting == "task"
    allowed = learner.candidates(local=False)
    numbers, columns, confidences = [], [], []
    for batch_numbers in batches:
        batch = learner.collate([examples[i] for i in batch_numbers])
        del batch["labels"]
        rows = allowed[batch["task_ids"]]
        if not given:
            batch["task_ids"].zero_()
        with learner.clock.part("eval/forward"):
            logits = strategy.predict(learner, batch, tasks[0] if given else None) if strategy.answers else None
            if logits is None:
                logits = learner.logits(batch)
        confidence, best = logits.masked_fill(~rows, float("-inf")).softmax(-1).max(-1)
        numbers += batch_numbers
        columns.append(best)
        confidences.append(confidence)
    order = torch.tensor(numbers).argsort()
    return torch.cat(columns).cpu()[order].tolist(), torch.cat(confidences).cpu()[order].tolist()
