"""Images with one label each: the columns "image" (floats in 0..1; channels, height, width) and "label"; accuracy."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clbench.data import Example
from clbench.errors import InputError
from clbench.kinds.asked import Code, Limits
from clbench.kinds.base import Encoded, Part
from clbench.kinds.labelled import Labelled, labelled_examples

if TYPE_CHECKING:
    import datasets
    import numpy as np

MOST_8_BITS, MOST_16_BITS = 255, 65535
IMPORTS = (
    "import json",
    "from pathlib import Path",
    "import numpy as np",
    "import torch",
    "from PIL import Image, ImageOps",
)
PIXELS = (
    'wanted = json.loads(Path(folder, "preprocessor_config.json").read_text())',
    "images = [ImageOps.exif_transpose(Image.open(path)).convert({mode!r}) for path in paths]  # of one size",
    "pixels = torch.stack([torch.tensor(np.array(image)){channels} for image in images]) / 255",
    'if wanted["do_resize"]:',
    '    size = wanted["size"]["height"], wanted["size"]["width"]',
    '    pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)',
    'mean, deviation = (torch.tensor(wanted[name])[:, None, None] for name in ("image_mean", "image_std"))',
    'inputs = {{"pixel_values": (pixels - mean) / deviation}}',
)
Shape = tuple[int, int, int]
"""Channels, height, width."""


class Image(Labelled):
    """A model reads an image and answers with one of the labels; its own preprocessing is part of the model."""

    name = "image"
    noun = "image"
    columns = ("image", "label")
    auto_class = "AutoModelForImageClassification"
    ability = "seeing"
    deployable = True
    pipeline = "image-classification"
    asked_in = ("image", "path", "file")
    asked_example = "image.png"

    def check(self, data: datasets.Dataset, labels: Sequence[str], where: str) -> None:
        """A split's images are floats in 0..1, of one size, with one channel or three."""
        images = images_of(data)
        if images.ndim != 4 or images.dtype.kind != "f":
            raise InputError(f"{where} has images that are not floats of one size; allowed: channels, height, width")
        if not (images.min() >= 0 and images.max() <= 1):
            raise InputError(f"{where} has pixels from {images.min():g} to {images.max():g}; allowed: 0 to 1")
        if images.shape[1] not in (1, 3):
            raise InputError(f"{where} has images of {images.shape[1]} channels; allowed: 1 (grey) or 3 (RGB)")

    def contents(self, data: datasets.Dataset) -> list[Hashable]:
        """Every pixel is the same."""
        return [image.tobytes() for image in images_of(data)]

    def identities(self, data: datasets.Dataset) -> Iterator[bytes]:
        """Pixels and label; as numbers in words they would take seconds."""
        images = images_of(data)
        for image, label in zip(images, data["label"][:], strict=True):
            yield repr((image.dtype.str, image.shape, label)).encode() + image.tobytes()

    def with_other_inputs(self, data: datasets.Dataset) -> datasets.Dataset:
        """Negatives."""
        return data.map(lambda row: {"image": (1 - torch.tensor(row["image"])).tolist()}, features=data.features)

    def encode(self, parts: Sequence[Part], tokenizer: Any, max_length: int) -> Encoded:
        """Pixels (channels, height, width) fp32 under "pixel_values", those of all tasks of the largest's shape."""
        shape = common_shape(part.data for part in parts)
        examples = []
        for part in parts:
            images = [{"pixel_values": image} for image in in_shape(images_tensor(part.data), shape)]
            examples.append(labelled_examples(part, images))
        return Encoded(examples)

    def inputs_in(self, data: datasets.Dataset) -> list[Any]:
        """Pixels in 0..1 (channels, height, width)."""
        return list(images_of(data))

    def read_input(self, given: Any, where: str, limits: Limits) -> np.ndarray:
        """The pixels of an image file, by its path."""
        return read_image(super().read_input(given, where, limits), where, limits.shape[0])

    def ask(self, inputs: Sequence[Any], tokenizer: Any, limits: Limits) -> list[Example]:
        """Pixels in the shape that the run gave its model."""
        channels, height, width = limits.shape
        images = (torch.tensor(image, dtype=torch.float32)[None] for image in inputs)
        return [{"pixel_values": in_shape(image, (channels, height, width))[0], "label": 0} for image in images]

    def input_code(self, limits: Limits) -> Code:
        """What the model's own processor does, but that pixels are not rounded to 8 bits where they are resized."""
        mode, channels = ("L", "[None]") if limits.shape[0] == 1 else ("RGB", ".permute(2, 0, 1)")
        return Code(IMPORTS, (), tuple(line.format(mode=mode, channels=channels) for line in PIXELS))

    def limit_told(self, limits: Limits) -> str:
        """What the run's images were."""
        channels, height, width = limits.shape
        colour = "grey" if channels == 1 else "colour"
        return f"The run's images have {height} by {width} pixels in {colour}, and others are brought to that"


def images_of(data: datasets.Dataset) -> np.ndarray:
    """All images of a split: examples, channels, height, width."""
    images: np.ndarray = data.with_format("numpy")["image"][:]
    return images


def images_tensor(data: datasets.Dataset) -> Tensor:
    """The same, fp32."""
    return torch.tensor(images_of(data), dtype=torch.float32)


def common_shape(splits: Iterable[datasets.Dataset]) -> Shape:
    """The shape that the images of all splits are brought to: the most channels, the greatest height and width."""
    shapes = [tuple(torch.tensor(data[0]["image"]).shape) for data in splits]
    channels, height, width = (max(sizes) for sizes in zip(*shapes, strict=True))
    return channels, height, width


def read_image(path: str, where: str, channels: int) -> np.ndarray:
    """The pixels of a file in 0..1 (channels, height, width), the right way up.

    Args:
        path: of the file, in a format that Pillow reads: 8 bits a channel, or 16 bits of grey.
        where: it was named, for the error line.
        channels: 1 for grey, 3 for RGB.

    Raises:
        InputError: it is no such file, or partly transparent.
    """
    import numpy as np
    from PIL import Image as Pillow, ImageOps

    if not os.path.isfile(path):
        raise InputError(f"{where}: no such file: {path!r}; allowed: an image file, such as PNG or JPEG")
    try:
        with Pillow.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{where}: {path!r} cannot be read: {reason}; allowed: an image file") from error
    if image.mode.startswith("I;16"):
        grey = np.asarray(image, dtype=np.float32)[None] / MOST_16_BITS
        return np.repeat(grey, channels, axis=0)
    if image.mode.startswith(("I", "F")):
        raise InputError(f"{where}: {path!r} has pixels of mode {image.mode!r}; allowed: 8 bits, or 16 bits of grey")
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < MOST_8_BITS:
        raise InputError(f"{where}: {path!r} is partly transparent; allowed: images without an alpha channel")
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), dtype=np.float32) / MOST_8_BITS
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def in_shape(images: Tensor, shape: Shape) -> Tensor:
    """``images`` (examples, channels, height, width) in another shape: grey as RGB, other sizes bilinearly."""
    channels, height, width = shape
    if images.shape[1] != channels:
        images = images.expand(-1, channels, -1, -1)
    if images.shape[2:] != (height, width):
        smaller = height < images.shape[2] or width < images.shape[3]  # then every pixel counts
        images = nn.functional.interpolate(
            images, (height, width), mode="bilinear", align_corners=False, antialias=smaller
        )
    return images
