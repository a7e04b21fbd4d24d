"""Image networks made on the spot for images of the scenario's own shape: ``mlp`` and ``smallconv``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn


class PlainNetwork(nn.Module):
    """A body, and the output layer that reads its features.

    Args:
        body: gives features (examples, ``features``) of images (examples, channels, height, width).
        features: how many.
        labels: columns of the output layer.
    """

    def __init__(self, body: nn.Module, features: int, labels: int) -> None:
        super().__init__()
        self.body = body
        self.classifier = nn.Linear(features, labels)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        """``.logits`` (examples, labels) of images (examples, channels, height, width)."""
        return SimpleNamespace(logits=self.classifier(self.body(pixel_values)))


class Standardise(nn.Module):
    """Pixels less ``mean``, divided by ``deviation``: two numbers that are no weights but belong to the model."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, pixels: Tensor) -> Tensor:
        """Of pixels of any shape."""
        return (pixels - self.mean) / self.deviation

    def fit(self, images: Iterable[Tensor]) -> None:
        """Take the mean and the standard deviation of all pixels of all ``images``, tensors of any shape."""
        count, total, squares = 0, 0.0, 0.0
        for pixels in images:
            wide = pixels.double()
            count += wide.numel()
            total += wide.sum().item()
            squares += wide.square().sum().item()
        mean = total / count
        variance = squares / count - mean**2
        self.mean.fill_(mean)
        self.deviation.fill_(math.sqrt(variance) if variance > 0 else 1.0)  # 0 where every pixel is the same


def make_mlp(shape: Sequence[int], width: int, depth: int, labels: int, standardise: int = 0) -> PlainNetwork:
    """``depth`` hidden layers of ``width`` rectified units on the pixels of images of ``shape`` (c, h, w).

    With ``standardise`` 1 they are standardised first, by numbers yet to be fitted: :class:`Standardise`.
    """
    layers: list[nn.Module] = [*([Standardise()] if standardise else []), nn.Flatten()]
    inputs = shape[0] * shape[1] * shape[2]
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return PlainNetwork(nn.Sequential(*layers), width, labels)


def make_smallconv(shape: Sequence[int], labels: int) -> PlainNetwork:
    """Four 3×3 convolutions of 32, 32, 64 and 64 channels, halved after each second, and 512 hidden units.

    The network that Zenke et al. (2017, "Continual Learning Through Synaptic Intelligence") take for CIFAR, without
    its dropout. No normalisation, so that nothing but weights is learned.
    """
    channels, height, width = shape
    layers: list[nn.Module] = []
    for outputs in (32, 64):
        for inputs in (channels, outputs):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
        layers.append(nn.MaxPool2d(2, ceil_mode=True))  # so that an image of one row keeps it
        channels, height, width = outputs, -(-height // 2), -(-width // 2)
    layers += [nn.Flatten(), nn.Linear(channels * height * width, 512), nn.ReLU()]
    return PlainNetwork(nn.Sequential(*layers), 512, labels)
