"""One row of the accuracy matrix: every task's test set, with each prediction kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.metrics import accuracy_score, f1_score

from clbench.data import Example, evaluation_batches, length
from clbench.learner import Learner
from clbench.strategy import Strategy

# Tokens of one forward pass, padding included; predictions do not depend on it.
TOKEN_BUDGET = 4096


@dataclass(frozen=True)
class Evaluation:
    """One task's test set after some task: predicted columns and their probabilities, in the order of the test set."""

    labels: list[int]
    predictions: list[int]
    confidences: list[float]

    @property
    def accuracy(self) -> float:
        """The fraction of right predictions."""
        return float(accuracy_score(self.labels, self.predictions))

    @property
    def macro_f1(self) -> float:
        """The mean of the F1 scores of the task's own labels."""
        present = sorted(set(self.labels))
        return float(f1_score(self.labels, self.predictions, labels=present, average="macro", zero_division=0))


def measurable(learner: Learner, position: int) -> bool:
    """Whether task ``position`` can be answered now: in the class setting its labels must have been seen."""
    return learner.labels.setting != "class" or position < learner.tasks_seen


@torch.inference_mode()
def evaluate(
    learner: Learner, strategy: Strategy, examples: Sequence[Example], position: int, token_budget: int = TOKEN_BUDGET
) -> Evaluation:
    """Predict every test example of task ``position``, the model in eval mode.

    Args:
        learner: the model.
        strategy: may answer in the model's place; is given the task id in the task setting only.
        examples: the task's test set.
        position: the task's place in the sequence.
        token_budget: tokens of one forward pass.
    """
    learner.model.eval()
    task_id = position if learner.labels.setting == "task" else None
    candidates = torch.tensor(learner.labels.candidates(position, learner.tasks_seen), device=learner.device)
    numbers, columns, confidences = [], [], []
    for batch_numbers in evaluation_batches([length(e) for e in examples], token_budget):
        batch = learner.collate([examples[i] for i in batch_numbers])
        del batch["labels"]
        if task_id is None:
            batch["task_ids"].zero_()
        logits = strategy.predict(learner, batch, task_id)
        if logits is None:
            logits = learner.logits(batch)
        confidence, best = logits[:, candidates].softmax(-1).max(-1)
        numbers += batch_numbers
        columns.append(candidates[best])
        confidences.append(confidence)
    order = torch.tensor(numbers).argsort()
    return Evaluation(
        [example["label"] for example in examples],
        torch.cat(columns).cpu()[order].tolist(),
        torch.cat(confidences).cpu()[order].tolist(),
    )
