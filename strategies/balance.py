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
        self.counts: list[Counter[int]] = []
        if mode == "class_weights":
            self.decides = ("what each row's loss is",)

    def examples(self, learner: Learner, task: Task, rows: datasets.Dataset) -> datasets.Dataset:
        """The rows of each label as often as they are wanted."""
        labels = learner.kind.strata(rows)
        counts = Counter(labels)
        told = {task.labels[label]: counts[label] for label in sorted(counts)}
        had = ", ".join(f"{count} {label}" for label, count in told.items())
        if self.mode == "class_weights":
            self.counts.append(counts)
        if len(set(counts.values())) == 1:
            return rows
        if self.mode == "class_weights":
            weights = {task.labels[label]: round(weight, 3) for label, weight in _weights(counts).items()}
            text = f"balance: {task.name} has {had}; they weigh {', '.join(map(str, weights.values()))}"
            learner.note("balance", task=task.name, rows=told, weights=weights, text=text)
            return rows
        wanted = max(counts.values()) if self.mode == "over" else min(counts.values())
        taken: list[int] = []
        for label in sorted(counts):
            own = [number for number, its in enumerate(labels) if its == label]
            order = torch.randperm(len(own), generator=generator(learner.seed, "balance", task.name, label)).tolist()
            taken += own * (wanted // len(own)) + [own[place] for place in order[: wanted % len(own)]]
        text = f"balance: {task.name} had {had}; now {wanted} each"
        learner.note("balance", task=task.name, rows_before=told, rows_each=wanted, text=text)
        return rows.select(sorted(taken))

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """What a row of each task's labels weighs, also of tasks that are learned together with this one."""
        table = torch.ones(learner.tasks, len(learner.labels.names))
        for position, counts in enumerate(self.counts):
            for label, weight in _weights(counts).items():
                table[position, learner.labels.columns[position][label]] = weight
        self.weights = upload(table, learner.device)

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        """What turns the engine's mean into the weighted one."""
        if self.mode != "class_weights":
            return None
        excess = self.weights[batch["task_ids"], batch["labels"]] - 1
        if "remembered" in batch:
            excess = excess.masked_fill(batch["remembered"], 0.0)
        return (excess * learner.example_losses(logits, batch)).mean()


def _weights(counts: Counter[int]) -> dict[int, float]:
    """R / (K n) for each of a task's labels."""
    rows = sum(counts.values())
    return {label: rows / (len(counts) * counts[label]) for label in sorted(counts)}
