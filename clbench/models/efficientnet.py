"""EfficientNet-Lite0: inverted bottlenecks of depthwise convolutions for small processors.

Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"; the Lite variant of
TensorFlow's repository leaves squeeze-and-excitation out, clips its activations at 6 in the place of swish, and keeps
the stem and the top as they are. Padding and epsilon are TensorFlow's, since the weights are.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

# Of each stage: how much the first convolution widens, output channels, blocks, the first one's stride, kernel size.
STAGES = (
    *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
    *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
)
STEM, TOP = 32, 1280
EPSILON, MOMENTUM = 1e-3, 0.01
# What its weights were trained with, of pixels in 0..1.
MEAN, STANDARD_DEVIATION = (127 / 255,) * 3, (128 / 255,) * 3
# Ours of the parts whose names in the checkpoint begin so.
PARTS = {
    **{"_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": "top.conv", "_bn1": "top.norm"},
    **{"_expand_conv": "expand.conv", "_depthwise_conv": "depthwise.conv", "_project_conv": "project.conv"},
}
NORMS = {"_bn0": "expand.norm", "_bn1": "depthwise.norm", "_bn2": "project.norm"}


class SamePadding(nn.Module):
    """Zeros around an image, so that a convolution of ``kernel`` and ``stride`` gives one value a stride.

    What is odd goes to the right and below, as TensorFlow has it; with stride 2 that is another place than torch's.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, images: Tensor) -> Tensor:
        """``images`` (examples, channels, height, width), larger."""
        sides: list[int] = []
        for size in (images.shape[-1], images.shape[-2]):  # the last dimension first, as torch wants it
            total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
            sides += [total // 2, total - total // 2]
        return nn.functional.pad(images, sides)


class EfficientNetLite0(nn.Module):
    """The network with an output layer of ``labels`` columns, before which ``dropout`` applies."""

    def __init__(self, labels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = _convolution(3, STEM, 3, 2)
        blocks: list[nn.Module] = []
        channels = STEM
        for widening, outputs, count, stride, kernel in STAGES:
            for number in range(count):
                blocks.append(Bottleneck(channels, outputs, widening, kernel, stride if number == 0 else 1))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.top = _convolution(channels, TOP, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(TOP, labels)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        """``.logits`` (examples, labels) of normalised images (examples, 3, height, width)."""
        features = self.top(self.blocks(self.stem(pixel_values))).mean((2, 3))
        return SimpleNamespace(logits=self.classifier(self.dropout(features)))


class Bottleneck(nn.Module):
    """Widen, filter each channel by itself, narrow; added to what came in where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, widening: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * widening
        self.expand = _convolution(inputs, wide, 1, 1) if widening > 1 else nn.Identity()
        self.depthwise = _convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _convolution(wide, outputs, 1, 1, activated=False)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        """Of ``images`` (examples, inputs, height, width): (examples, outputs, height / stride, width / stride)."""
        result: Tensor = self.project(self.depthwise(self.expand(images)))
        return result + images if self.adds else result


def load_efficientnet_lite0(file: Path, labels: int, dropout: float) -> EfficientNetLite0:
    """The pretrained network with a new output layer in torch's own initialisation.

    Raises:
        RuntimeError: the file holds other weights than the network has, or lacks one; what torch says of it.
    """
    pickled = torch.load(file, map_location="cpu", weights_only=True)
    body = {own_name(name): value for name, value in pickled.items() if not name.startswith("_fc.")}
    network = EfficientNetLite0(labels, dropout)
    fresh = network.classifier.state_dict(prefix="classifier.")
    network.load_state_dict({**body, **fresh}, strict=True)
    return network


def own_name(name: str) -> str:
    """What we call the weight that the checkpoint calls ``name``.

    >>> own_name("_blocks.3._bn1.running_var")
    'blocks.3.depthwise.norm.running_var'
    """
    parts = name.split(".")
    if parts[0] == "_blocks":
        return ".".join(["blocks", parts[1], NORMS.get(parts[2]) or PARTS.get(parts[2], parts[2]), *parts[3:]])
    return ".".join([PARTS.get(parts[0], parts[0]), *parts[1:]])


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int, *, groups: int = 1, activated: bool = True
) -> nn.Sequential:
    """A convolution without bias, batch normalisation, and an activation clipped at 6."""
    # At stride 1 both paddings are one, and the convolution pads faster by itself.
    parts: list[tuple[str, nn.Module]] = [("pad", SamePadding(kernel, stride))] if stride > 1 else []
    inside = 0 if stride > 1 else kernel // 2
    parts.append(("conv", nn.Conv2d(inputs, outputs, kernel, stride, inside, groups=groups, bias=False)))
    parts.append(("norm", nn.BatchNorm2d(outputs, eps=EPSILON, momentum=MOMENTUM)))
    return nn.Sequential(OrderedDict([*parts, ("activation", nn.ReLU6())] if activated else parts))
