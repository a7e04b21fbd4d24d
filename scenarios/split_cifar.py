"""CIFAR-10's test images in five tasks of two classes each (airplane/automobile, bird/cat, ...): photographs.

The 10,000 test images of CIFAR-10 (Krizhevsky 2009), 32 by 32 pixels in three colours, serve for all three splits, as
the package has no others: figures are not those of models that were trained on the 50,000 training images. Each task
has 600 images to train, 100 for dev and 200 for test, of each class the same number.

Data: one file of the package bigbench (PyPI), 358 MB, fetched and unpacked once.
Rights: see `clbench data list`; CIFAR-10 comes without a licence of its authors, and its package must not be published
again.
"""

from __future__ import annotations

import random
from typing import Any, ClassVar

from clbench import Scenario, Task
from clbench.errors import InputError
from clbench.toolkit import draw_images, images, splits

IMAGES_A_CLASS = 1000


class SplitCifar(Scenario):
    """Two new classes of photographs a task, in CIFAR-10's order.

    Args:
        seed: which images are drawn.
        setting: ``class`` or ``task``.
        train, dev, test: images a task in each split, together at most 2,000.
    """

    kind: ClassVar[str] = "image"
    settings: ClassVar[tuple[str, ...]] = ("class", "task")
    refusals: ClassVar[dict[str, str]] = {"domain": "its tasks have different labels"}
    defaults: ClassVar[dict[str, Any]] = {
        "model": "efficientnet_lite0",
        "epochs": 2,
        "lr": 3e-4,
        "head_lr": 1e-3,
        "batch_size": 32,
    }
    sources: ClassVar[tuple[str, ...]] = ("bigbench",)

    def __init__(
        self, *, seed: int = 0, setting: str = "class", train: int = 600, dev: int = 100, test: int = 200
    ) -> None:
        super().__init__(seed=seed, setting=setting)
        self.sizes = (train, dev, test)
        splits.check_sizes(self.sizes, (2, 1, 2), ", one for each label")
        if sum(self.sizes) > 2 * IMAGES_A_CLASS:
            raise InputError(
                f"train={train}, dev={dev} and test={test} ask for {sum(self.sizes)} images a task; "
                f"allowed: together at most {2 * IMAGES_A_CLASS}"
            )

    def tasks(self) -> list[Task]:
        """Five tasks named after their classes; fetches the package."""
        pixels, targets = images.cifar()
        tasks = []
        for first in range(0, len(images.CIFAR), 2):
            labels = images.CIFAR[first : first + 2]
            generator = random.Random(f"{self.seed}/{first}")
            parts = draw_images(pixels, targets, (first, first + 1), self.sizes, generator)
            tasks.append(Task("/".join(labels), "image", labels, *parts))
        return tasks
