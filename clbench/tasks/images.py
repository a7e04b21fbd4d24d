"""Seeded, balanced draws of images."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clbench.errors import InputError
from clbench.tasks.rows import image_dataset
from clbench.tasks.splits import Counts, balanced_counts, count_labels, deduplicate, draw

if TYPE_CHECKING:
    import datasets
    import numpy as np

BRIGHTEST = 255


def draw_images(
    images: np.ndarray,
    targets: Sequence[int] | np.ndarray,
    classes: Sequence[int],
    sizes: Counts,
    generator: random.Random,
) -> tuple[datasets.Dataset, datasets.Dataset, datasets.Dataset]:
    """Draw train, dev and test from the distinct images of ``classes``, as balanced over them as the images allow.

    Where there are too few images, train gets what dev and test leave.

    Args:
        images: uint8, examples, channels, height, width.
        targets: the class of each image.
        classes: those drawn from; a drawn image's label is its class's position here.
        sizes: images in train, dev and test.
        generator: decides the draw.

    Returns:
        Splits with the columns ``image`` (floats in 0..1) and ``label``.

    Raises:
        InputError: there are fewer images than dev and test ask for.
    """
    import numpy as np

    names = [str(label) for label in classes]
    wanted = np.flatnonzero(np.isin(targets, classes)).tolist()
    rows = [(position, str(targets[position])) for position in wanted]
    rows = deduplicate(rows, key=lambda position: images[position].tobytes())
    train, dev, test = sizes
    if dev + test > len(rows):
        raise InputError(f"dev={dev} and test={test} ask for {dev + test} of {len(rows)} images")
    counts = balanced_counts((min(train, len(rows) - dev - test), dev, test), count_labels(rows, names))
    made = []
    for part in draw(rows, counts, generator):
        pixels = images[[position for position, _ in part]] if part else images[:0]
        made.append(image_dataset(pixels.astype("float32") / BRIGHTEST, [names.index(name) for _, name in part]))
    return made[0], made[1], made[2]
