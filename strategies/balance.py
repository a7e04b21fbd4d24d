"""Balance: every label of a task gets as many training rows, by repeating rows or by leaving some out.

Buda, Maki & Mazurowski 2018, "A systematic study of the class imbalance problem in convolutional neural networks":
oversampling to the largest class is best in almost all cases and does not overfit; undersampling costs what it leaves
out. A label with n rows of at most N is taken ⌊N / n⌋ times and N mod n of its rows, drawn by the seed, once more.
"""

from collections import Counter
from typing import Literal

import datasets
import torch

from clbench import Learner, Strategy, Task
from clbench.toolkit import Choices, generator


class Balance(Strategy):
    """Rows that are remembered later are those of the balanced task. A balanced task stays as it is.

    Args:
        mode: "over" repeats rows of the smaller labels up to the largest, "under" leaves rows of the larger ones out
            down to the smallest; not tuned.
    """

    is_recipe = True
    kinds = ("text", "image")
    search_spaces = {"mode": Choices(("over", "under"))}

    def __init__(self, mode: Literal["over", "under"] = "over") -> None:
        self.mode = mode

    def examples(self, learner: Learner, task: Task, rows: datasets.Dataset) -> datasets.Dataset:
        """The rows of each label as often as they are wanted."""
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
