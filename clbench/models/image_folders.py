"""Image models in folders: as transformers or timm has them, with what they want of images; our own as weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clbench.files import write_atomic
from clbench.models.frozen_precision import full_weights
from clbench.models.image_model import ImageModel, Preprocessing
from clbench.models.image_pretrained import read_preprocessing
from clbench.models.model_kinds import is_timm
from clbench.models.pretrained import attention_for
from clbench.models.safe_weights import read_json
from clbench.models.timm_models import WEIGHTS, build_timm
from clbench.models.vision import make_network

# What ImageModel puts before the names of the network that it wraps, which has no such prefix in a folder.
NETWORK = "network."
PROCESSOR, SETTINGS, OWN = "preprocessor_config.json", "config.json", "network.json"
BILINEAR = 2  # as Pillow numbers its filters


def is_own(model: nn.Module) -> bool:
    """Whether neither transformers nor timm knows the network: one made on the spot, or efficientnet_lite0."""
    if isinstance(model, ImageModel):
        return model.timm is None and not hasattr(model.network, "save_pretrained")
    return not hasattr(model, "save_pretrained")


def save_own(model: nn.Module, folder: Path, name: str, shape: Sequence[int], labels: int) -> None:
    """The weights of one of our own networks, and what it takes to make it.

    Args:
        model: it.
        folder: a new one.
        name: as ``--model`` has it.
        shape: of the images that the run gave it.
        labels: columns of its output layer.
    """
    folder.mkdir(parents=True)
    save_weights(model, folder)
    write_json(folder / OWN, {"model": name, "shape": list(shape), "labels": labels})


def save_network(model: ImageModel, folder: Path, names: Sequence[str], replaced: Mapping[str, Tensor]) -> None:
    """A network of timm's or transformers' with what it wants of images.

    Args:
        model: whose network it is.
        folder: a new one.
        names: of the labels.
        replaced: weights that stand in the place of its own, by the names that they have in the network.
    """
    network: Any = model.network
    weights = full_weights(network, replaced)
    folder.mkdir(parents=True, exist_ok=True)
    if model.timm is None:
        network.save_pretrained(folder, state_dict=weights)
    else:
        write_json(folder / SETTINGS, timm_settings(model.timm, names))
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, folder / WEIGHTS)
    save_preprocessing(model, folder)


def save_preprocessing(model: ImageModel, folder: Path) -> None:
    """What the network wants of images, as transformers' own processor reads it."""
    wanted = model.preprocessing
    size = {} if wanted.size is None else {"size": dict(zip(("height", "width"), wanted.size, strict=True))}
    content = {
        "image_processor_type": "ViTImageProcessor",  # which does just this, whatever the network is
        "do_convert_rgb": len(wanted.mean) == 3,
        "do_resize": wanted.size is not None,
        **size,
        "resample": BILINEAR,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(wanted.mean),
        "image_std": list(wanted.deviation),
    }
    write_json(folder / PROCESSOR, content)


def timm_settings(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A config.json of timm's with other labels."""
    kept = {key: value for key, value in settings.items() if key not in ("label_names", "label_descriptions")}
    known = {k: v for k, v in (settings.get("pretrained_cfg") or {}).items() if not k.startswith("label_")}
    known["num_classes"] = len(names)
    return {**kept, "num_classes": len(names), "label_names": list(names), "pretrained_cfg": known}


def load_images(folder: Path, device: torch.device) -> nn.Module:
    """The image model that one of the functions above wrote, on the CPU; ``device`` is where it will be."""
    if (folder / OWN).is_file():
        made = read_json(str(folder), OWN)
        model = make_network(made["model"], made["shape"], made["labels"])
        model.load_state_dict(load_file(folder / WEIGHTS))
        return model
    settings = read_json(str(folder), SETTINGS)
    if is_timm(settings):
        network = build_timm(settings, settings["num_classes"])
        network.load_state_dict(load_file(folder / WEIGHTS))
        return wrap_network(network, folder, settings)
    from transformers import AutoModelForImageClassification

    plain = AutoModelForImageClassification.from_pretrained(
        folder, attn_implementation=attention_for(device), use_safetensors=True
    )
    return wrap_network(plain, folder, settings)


def wrap_network(network: nn.Module, folder: Path, settings: Mapping[str, Any]) -> ImageModel:
    """``network`` after the preprocessing that ``folder`` tells; ``settings`` is the config.json there."""
    return ImageModel(network, folder_preprocessing(folder), timm=settings if is_timm(settings) else None)


def folder_preprocessing(folder: Path) -> Preprocessing:
    """What :func:`save_preprocessing` wrote."""
    processor = read_json(str(folder), PROCESSOR)
    return read_preprocessing(processor, SimpleNamespace(num_channels=len(processor["image_mean"])))


def save_weights(model: nn.Module, folder: Path) -> None:
    """All weights and statistics."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A file for people, too."""
    write_atomic(path, json.dumps(content, indent=2) + "\n")
