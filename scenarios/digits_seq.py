"""Handwritten digits in five tasks of two classes each (0/1, 2/3, 4/5, 6/7, 8/9): small images, no download.

The 1,797 images of 8 by 8 pixels that come with scikit-learn (Optical Recognition of Handwritten Digits, test part;
Alpaydin and Kaynak 1998), scaled to 0..1. Each task has the images of its two digits, about 360, of which 60 % are for
training, 15 % for dev and 25 % for test, the same share of each digit.
Rights: the UCI repository gives the data under CC BY 4.0.
"""

from __future__ import annotations

import random
from typing import Any, ClassVar

from clbench import Scenario, Task
from clbench.toolkit import image_dataset, splits

DEV_SHARE = 0.15
TEST_SHARE = 0.25
BRIGHTEST = 16.0


class DigitsSequence(Scenario):
    """Two new digits a task.

    Args:
        seed: which images are for training, dev and test.
        setting: ``task`` or ``class``.
    """

    kind: ClassVar[str] = "image"
    settings: ClassVar[tuple[str, ...]] = ("task", "class")
    refusals: ClassVar[dict[str, str]] = {"domain": "its tasks have different labels"}
    defaults: ClassVar[dict[str, Any]] = {
        "model": "tiny",
        "epochs": 20,
        "min_steps": 0,
        "lr": 1e-3,
        "head_lr": 1e-3,
        "batch_size": 32,
    }

    def __init__(self, *, seed: int = 0, setting: str = "task") -> None:
        super().__init__(seed=seed, setting=setting)

    def tasks(self) -> list[Task]:
        """Five tasks named after their digits."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (digits.images / BRIGHTEST).astype("float32")[:, None]
        rows = [(index, str(label)) for index, label in enumerate(digits.target)]
        rows = splits.deduplicate(rows, key=lambda index: images[index].tobytes())
        tasks = []
        for first in range(0, 10, 2):
            labels = (str(first), str(first + 1))
            own = [row for row in rows if row[1] in labels]
            counts = splits.fractional_counts(splits.count_labels(own, labels), DEV_SHARE, TEST_SHARE)
            name = "/".join(labels)
            parts = splits.draw(own, counts, random.Random(f"{self.seed}/{name}"))
            datasets = (
                image_dataset(images[[index for index, _ in part]], [labels.index(label) for _, label in part])
                for part in parts
            )
            tasks.append(Task(name, "image", labels, *datasets))
        return tasks
