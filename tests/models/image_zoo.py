"""Small random image classifiers, saved on the spot as transformers and timm save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from clbench.models import import_libraries, survive_torchvision

SIDE = 16
PROCESSOR = {"size": {"height": SIDE, "width": SIDE}, "image_mean": [0.5] * 3, "image_std": [0.25, 0.5, 1.0]}
PATCHES = {"image_size": SIDE, "patch_size": 4}
LAYERS = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
# What each architecture's configuration calls its sizes; the class is <name>Config.
SETTINGS: dict[str, dict[str, Any]] = {
    "ViT": {**LAYERS, **PATCHES},
    "DeiT": {**LAYERS, **PATCHES},
    "Swin": {
        "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2, "image_size": SIDE, "patch_size": 2,
    },
    "ResNet": {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"},
    "MobileViT": {
        "hidden_sizes": [8, 8, 8], "neck_hidden_sizes": [4, 4, 4, 4, 4, 4, 8], "num_attention_heads": 2,
        "image_size": SIDE, "expand_ratio": 1.0, "output_stride": 8,
    },
}  # fmt: skip
ARGUMENTS: dict[str, Any] = {"embed_dim": 8, "depth": 2, "num_heads": 2, "img_size": SIDE, "patch_size": 4}
TIMM: dict[str, Any] = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 5,
    "model_args": ARGUMENTS,
    "pretrained_cfg": {"input_size": [3, SIDE, SIDE], "mean": [0.5] * 3, "std": [0.25] * 3},
}


def save(name: str, folder: Path) -> str:
    """The architecture ``name``, or timm's ViT as "timm", in the new ``folder``."""
    import_libraries()
    import transformers

    torch.manual_seed(0)
    if name == "timm":
        save_timm(folder)
        return str(folder)
    settings = getattr(transformers, f"{name}Config")(**SETTINGS[name])
    model = getattr(transformers, f"{name}ForImageClassification")(settings)
    enlarge(model)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return str(folder)


def save_timm(folder: Path) -> None:
    """Skips the test where timm is not installed."""
    survive_torchvision()
    timm = pytest.importorskip("timm")
    network = timm.create_model(TIMM["architecture"], num_classes=5, **ARGUMENTS)
    enlarge(network)
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(TIMM))


def enlarge(model: nn.Module) -> None:
    """Weights with which images differ, also after many layers."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 2 / parameter[0].numel() ** 0.5)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1.0)
