"""Fashion-MNIST in five tasks of two garments each (t-shirt/trouser and so on): all 70,000 photographs.

Xiao, Rasul and Vollgraf (2017), in the task sequence of ``split_mnist`` and with its arguments: harder, in the same
shape. Each task has all training images of its two garments, 12,000, less 200 for dev, and their 2,000 official test
images. In the setting ``domain`` every task asks whether a garment is the first or the second of its two.

Data: Debian's package dataset-fashion-mnist, which no Python or npm client fetches: it must be installed
(``apt install dataset-fashion-mnist``, 31 MB).
Rights: MIT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from clbench.scenarios.split_mnist import SplitMnist

from clbench.toolkit import images

if TYPE_CHECKING:
    import numpy as np


class SplitFashionMnist(SplitMnist):  # type: ignore[misc]
    """Two new garments a task.

    Args:
        seed: which images are drawn, and with ``order="seed"`` the garments' order.
        setting: ``task``, ``domain`` or ``class``.
        train, dev, test, pad, order: see split_mnist.
    """

    sources: ClassVar[tuple[str, ...]] = ()
    classes: ClassVar[tuple[str, ...]] = images.GARMENTS

    def read(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """All images of ``train`` or ``test``, and the position of each one's garment."""
        return images.fashion(split)
