"""Balance: every label of a task counts the same, by repeating rows, by leaving some out, or by weights in the loss.

Buda, Maki & Mazurowski 2018, "A systematic study of the class imbalance problem in convolutional neural networks":
oversampling to the largest class is best in almost all cases and does not overfit; undersampling costs what it leaves
out. A label with n rows of at most N is taken ⌊N / n⌋ times and N mod n of its rows, drawn by the seed, once more.
Weights leave the rows as they are: of a task's R rows with K labels each of a label with n counts R / (K n) in the mean
(King & Zeng 2001, "Logistic Regression in Rare Events Data", section 4.1), 1 on average.
"""

from collections import Counter
from typing import Literal

import datasets
import torch
from torch import Tensor

from clbench import Batch, Learner, Strategy, Task, TaskData
from clbench.toolkit import Choices, generator, upload


class Balance(Strategy):
    """Rows that are remembered later are those of the balanced task, and count 1. A balanced task stays as it is.

    Args:
        mode: "over" repeats rows of the smaller labels up to the largest, "under" leaves rows of the larger ones out
            down to the smallest, "class_weights" weighs each label's losses; not tuned.
    """

    is_recipe = True
    kinds = ("text", "image")
    search_spaces = {"mode": Choices(("over", "under", "class_weights"))}

    def __init__(self, mode: Literal["over", "under", "class_weights"] = "over") -> None:
        self.mode = mode
        if mode == "class_weights":
            self.decides = ("how much each row of a batch counts",)

    def examples(self, learner: Learner, task: Task, rows: datasets.Dataset) -> datasets.Dataset:
        """The rows of each label as often as they are wanted."""
        if self.mode == "class_weights":
            return rows
        labels = learner.kind.strata(rows)
        counts = Counter(labels)
        wanted = max(counts.values()) if self.mode == "over" else min(counts.values())
        if len(set(counts.values())) == 1:
            return rows
        taken: list[int] = []
        for label in sorted(counts):
            own = [number for number, its in enumerate(labels) if its == label]
            order = torch.randperm(len(own), generator=generator(learner.seed, "balance", task.name, label)).tolist()
            taken += own * (wanted // len(own)) + [own[place] for place in order[: wanted % len(own)]]
        told = {task.labels[label]: counts[label] for label in sorted(counts)}
        had = ", ".join(f"{count} {label}" for label, count in told.items())
        text = f"balance: {task.name} had {had}; now {wanted} each"
        learner.note("balance", task=task.name, rows_before=told, rows_each=wanted, text=text)
        return rows.select(sorted(taken))

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """What a row of each label weighs."""
        counts = Counter(example["label"] for example in task.train) if self.mode == "class_weights" else Counter()
        weights = torch.ones(len(learner.labels.names))
        for label, count in counts.items():
            weights[label] = len(task.train) / (len(counts) * count)
        self.weights = upload(weights, learner.device)
        if len(set(counts.values())) > 1:
            told = {learner.labels.names[label]: round(float(weights[label]), 3) for label in sorted(counts)}
            had = ", ".join(f"{weight} {label}" for label, weight in told.items())
            learner.note("balance", task=task.name, weights=told, text=f"balance: rows of {task.name} weigh {had}")

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        """What turns the engine's mean into the weighted one."""
        if self.mode != "class_weights":
            return None
        excess = self.weights[batch["labels"]] - 1
        if "remembered" in batch:
            excess = excess.masked_fill(batch["remembered"], 0.0)
        return (excess * learner.example_losses(logits, batch)).mean()
