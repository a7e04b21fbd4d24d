"""An image classifier in timm's format, from a folder or the hub, with a fresh output layer; needs the extra timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from clbench.doors import is_installed
from clbench.errors import InputError
from clbench.models.image_model import Preprocessing
from clbench.models.probe import answering_layer
from clbench.models.safe_weights import find_file, read_json

if TYPE_CHECKING:
    from clbench.config import RunConfig

WEIGHTS = "model.safetensors"


def load_timm(path: str, config: RunConfig, labels: int) -> tuple[Any, str, Preprocessing, dict[str, Any]]:
    """The model of the folder or hub id ``path``, in eval mode on the CPU.

    Returns:
        The model, its output layer's name, what it wants its images to be, and its config.json.

    Raises:
        InputError: timm is not installed.
        ValueError and what else timm raises: it is damaged, or its weights are not those of its architecture.
    """
    settings = read_json(path, "config.json")
    model = build_timm(settings, labels, config.dropout)
    preprocessing = timm_preprocessing({**model.pretrained_cfg, **(settings.get("pretrained_cfg") or {})})
    images = torch.zeros(1, len(preprocessing.mean), *(preprocessing.size or (32, 32)))
    with torch.no_grad():
        output_layer = answering_layer(model, labels, lambda: model(images))
    load_body(model, _weights(path), output_layer)
    return model, output_layer, preprocessing, settings


def _weights(path: str) -> dict[str, Tensor]:
    file = find_file(path, WEIGHTS)
    if file is None:
        raise ValueError(f"it holds no {WEIGHTS}; pickled weights are not loaded")
    weights: dict[str, Tensor] = load_file(file)
    return weights


def load_timm_body(path: str, settings: Mapping[str, Any]) -> Any:
    """The pretrained weights of the folder or hub id ``path`` in the architecture of ``settings``, a config.json.

    What its output layer answers is still random.
    """
    model = build_timm(settings, settings["num_classes"])
    own, weights = model.state_dict(), _weights(path)
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    model.load_state_dict(fitting, strict=False)
    return model


def build_timm(settings: Mapping[str, Any], labels: int, dropout: float = 0.0) -> Any:
    """The architecture of a config.json of timm's with random weights, in eval mode on the CPU.

    Raises:
        InputError: timm is not installed.
    """
    try:
        if not is_installed("timm"):
            raise ImportError("it is not installed")
        import timm
    except ImportError as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"a model of timm's, {settings['architecture']}, needs timm ({reason}): pip install 'clbench[timm]'"
        ) from error
    arguments = {**(settings.get("model_args") or {}), "pretrained": False}
    name = settings["architecture"]
    return timm.create_model(name, num_classes=labels, drop_rate=dropout, **arguments).eval()


def timm_preprocessing(settings: Mapping[str, Any]) -> Preprocessing:
    """What ``pretrained_cfg`` of a timm model says of size, mean and standard deviation."""
    channels, height, width = settings["input_size"]
    mean, deviation = (tuple(map(float, settings[name])) for name in ("mean", "std"))
    if not len(mean) == len(deviation) == channels:
        raise ValueError(f"its config.json has {len(mean)} means of {channels} channels")
    return Preprocessing((height, width), mean, deviation)


def load_body(model: nn.Module, weights: Mapping[str, Tensor], output_layer: str) -> None:
    """Give ``model`` all ``weights`` but those of its output layer.

    Raises:
        ValueError: weights are missing, have another size, or match nothing in the model.
    """
    own = model.state_dict()
    body = {name: value for name, value in weights.items() if name.rpartition(".")[0] != output_layer}
    needed = [name for name in own if name.rpartition(".")[0] != output_layer]
    if missing := [name for name in needed if name not in body]:
        raise ValueError(f"{len(missing)} of {len(needed)} weights are not in the checkpoint, such as {missing[0]}")
    if unknown := [name for name in body if name not in own]:
        raise ValueError(f"{len(unknown)} weights of the checkpoint match nothing in the model, such as {unknown[0]}")
    if other := [name for name in needed if body[name].shape != own[name].shape]:
        raise ValueError(f"the weights of {other[0]} have another size than the architecture")
    model.load_state_dict(body, strict=False)
