"""The model ``vit``, made on the spot: a small vision transformer for images of the scenario's own shape."""

from __future__ import annotations

from collections.abc import Sequence

from clbench.models.image_model import ImageModel, Preprocessing

# Patches along the shorter side.
PATCHES = 4
MIDDLE = 0.5


def make_vit(shape: Sequence[int], width: int, depth: int, labels: int, dropout: float = 0.0) -> ImageModel:
    """A ViT with random weights, in transformers' format.

    Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words": linear layers on patches, attention between them. An image
    whose sides are no multiple of a patch is enlarged to the next.

    Args:
        shape: of the images: channels, height, width.
        width: of its layers; four heads where it can be divided so.
        depth: how many layers.
        labels: columns of its output layer.
        dropout: of its hidden states and attention.
    """
    from transformers import ViTConfig, ViTForImageClassification

    channels, *sides = shape
    patch = max(1, min(sides) // PATCHES)
    height, breadth = (-(-side // patch) * patch for side in sides)
    settings = ViTConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=next(heads for heads in (4, 2, 1) if width % heads == 0),
        intermediate_size=2 * width,
        image_size=[height, breadth],
        patch_size=patch,
        num_channels=channels,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=labels,
        attn_implementation="eager",
    )
    wanted = Preprocessing((height, breadth), (MIDDLE,) * channels, (MIDDLE,) * channels)
    return ImageModel(ViTForImageClassification(settings), wanted)
