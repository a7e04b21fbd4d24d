"""An image network with what it does to images first: size, channels, mean and standard deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch import Tensor, nn

# Of the pixels that a network reads in one pass outside training: its layers make some fifty times more of them.
PASS_BYTES = {"cpu": 2**20, "cuda": 2**24}


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its images.

    Attributes:
        size: height and width to which an image is resized as a whole; None for the size that it has.
        mean, deviation: of each channel, for pixels in 0..1; their number is that of the channels that it reads.
    """

    size: tuple[int, int] | None
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def images_per_pass(self, device: torch.device, shape: Sequence[int]) -> int:
        """How many images of ``shape`` (c, h, w) one pass outside training takes."""
        height, width = self.size or shape[1:]
        return max(1, PASS_BYTES.get(device.type, PASS_BYTES["cuda"]) // (4 * len(self.mean) * height * width))

    def check(self, shape: Sequence[int]) -> None:
        """ValueError if images of ``shape`` (c, h, w) have other channels than the network, and are not grey."""
        if shape[0] not in (1, len(self.mean)):
            raise ValueError(
                f"it reads images of {len(self.mean)} channels, and the scenario's have {shape[0]}; allowed: 1 (grey) "
                f"or {len(self.mean)}"
            )


class ImageModel(nn.Module):
    """A network that reads a scenario's images.

    Batch normalisation keeps the statistics that it came with, in training too: those of a short task's images never
    settle, and what they overwrite is lost to every earlier task.

    Args:
        network: gives logits of normalised images, or an object that has them as ``.logits``.
        preprocessing: what it wants.
        batch_norm: "frozen", or "updated" for statistics that training moves.
        timm: config.json of a network of timm's; None for any other.

    Attributes:
        recomputes: a network of timm's computes its layers again in each backward pass of training.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        batch_norm: str = "frozen",
        timm: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.preprocessing, self.batch_norm, self.timm = network, preprocessing, batch_norm, timm
        self.recomputes = False
        for name, values in (("mean", preprocessing.mean), ("deviation", preprocessing.deviation)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
        # So depthwise convolutions train half as fast again on a CPU, others do not. The weights keep their layout, so
        # that nothing that copies, stores or restores them need know.
        depthwise = any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in network.modules())
        self.layout = torch.channels_last if depthwise else torch.contiguous_format

    def forward(self, pixel_values: Tensor) -> Any:
        """``.logits`` (examples, labels) of images (examples, channels, height, width) with pixels in 0..1."""
        output = self.network(self.prepare(pixel_values))
        return SimpleNamespace(logits=output) if isinstance(output, Tensor) else output

    def prepare(self, pixel_values: Tensor) -> Tensor:
        """The images as the network reads them."""
        if self.preprocessing.size not in (None, tuple(pixel_values.shape[-2:])):
            pixel_values = nn.functional.interpolate(
                pixel_values, self.preprocessing.size, mode="bilinear", align_corners=False, antialias=True
            )
        # Grey gets its channels here: the mean has one for each that the network reads.
        return ((pixel_values - self.mean) / self.deviation).contiguous(memory_format=self.layout)

    def train(self, mode: bool = True) -> Self:
        """Training mode, or not; frozen batch normalisation stays as it is in evaluation."""
        super().train(mode)
        if self.recomputes:  # transformers asks the mode by itself
            self.network.set_grad_checkpointing(mode)  # type: ignore[operator] # timm's
        if self.batch_norm == "frozen":
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self
