"""What the rows of a preset's data hold, and the splits of a task that they become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clbench.errors import InputError
from clbench.presets.preset import Preset, Source
from clbench.presets.splitting import Row
from clbench.tasks import answer_dataset, image_dataset, text_dataset, token_dataset

if TYPE_CHECKING:
    import datasets
    import numpy as np

BETWEEN = " || "  # stands between the columns that make one text
BRIGHTEST = 255


def read_contents(preset: Preset, source: Source, data: datasets.Dataset) -> list[Any]:
    """What each row holds: a text, a prompt, tokens, or an image (3, height, width) uint8.

    Raises:
        InputError: a column of images holds none.
    """
    if preset.kind == "image":
        return [_pixels(image, preset.size, preset.name) for image in data[source.columns["image"][0]]]
    if preset.kind == "token":
        return [tuple(tokens) for tokens in data[source.columns["tokens"][0]][:]]
    columns = source.columns["prompt" if preset.kind == "generation" else "text"]
    cells = zip(*(data[column][:] for column in columns), strict=True)
    return [BETWEEN.join(text for cell in row if (text := "" if cell is None else str(cell).strip())) for row in cells]


def _pixels(image: Any, size: int, name: str) -> np.ndarray:
    """An image as RGB (3, size, size) uint8: its shorter side brought to ``size``, the middle of the longer one."""
    import numpy as np
    from PIL import Image, ImageOps

    if not isinstance(image, Image.Image):
        raise InputError(f"{name}: the image column holds {type(image).__name__}; allowed: images")
    if image.mode.startswith(("I", "F")):  # PIL would cut off what is brighter than 8 bits
        raise InputError(f"{name}: an image has pixels of mode {image.mode!r}; allowed: 8 bits a channel")
    if image.size != (size, size):
        image = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
    return np.asarray(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1)


def row_dataset(kind: str, rows: Sequence[Row], names: tuple[str, ...]) -> datasets.Dataset:
    """A split of a task of ``kind`` with the labels ``names``.

    Raises:
        InputError: there is no image in it.
    """
    if kind == "text":
        return text_dataset(rows, names)
    if kind == "token":
        return token_dataset(rows, names)
    if kind == "generation":
        return answer_dataset(rows)
    import numpy as np

    if not rows:
        raise InputError("no image is left for a split; allowed: more images, or other shares")
    pixels = np.stack([image for image, _ in rows]).astype("float32") / BRIGHTEST
    return image_dataset(pixels, [names.index(label) for _, label in rows])
