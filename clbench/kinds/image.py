"""Images with one label each: the columns "image" (floats in 0..1; channels, height, width) and "label"; accuracy."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clbench.errors import InputError
from clbench.kinds.base import Encoded, Part
from clbench.kinds.labelled import Labelled, labelled_examples

if TYPE_CHECKING:
    import datasets
    import numpy as np

Shape = tuple[int, int, int]
"""Channels, height, width."""


class Image(Labelled):
    """A model reads an image and answers with one of the labels; its own preprocessing is part of the model."""

    name = "image"
    noun = "image"
    columns = ("image", "label")
    auto_class = "AutoModelForImageClassification"
    ability = "seeing"

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


def in_shape(images: Tensor, shape: Shape) -> Tensor:
    """``images`` (examples, channels, height, width) in another shape: grey as RGB, small ones enlarged bilinearly."""
    channels, height, width = shape
    if images.shape[1] != channels:
        images = images.expand(-1, channels, -1, -1)
    if images.shape[2:] != (height, width):
        images = nn.functional.interpolate(images, (height, width), mode="bilinear", align_corners=False)
    return images
