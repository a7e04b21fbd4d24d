"""Loads the model of a run on images: one made on the spot, a built-in pretrained one, transformers' or timm's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from clbench.errors import InputError
from clbench.head import make_head
from clbench.kinds import common_shape, images_tensor
from clbench.models.efficientnet import MEAN, STANDARD_DEVIATION, EfficientNetLite0, load_efficientnet_lite0
from clbench.models.image_model import ImageModel, Preprocessing
from clbench.models.image_pretrained import load_image_classifier
from clbench.models.model_kinds import is_made_on_the_spot, is_timm
from clbench.models.plain_networks import Standardise, make_mlp, make_smallconv
from clbench.models.pretrained import LoadedModel
from clbench.models.safe_weights import read_json
from clbench.models.timm_models import load_timm
from clbench.models.tiny import tiny_image_model
from clbench.models.tiny_vit import make_vit
from clbench.sources import TIMM, cannot_load, model_path, split_model_name

if TYPE_CHECKING:
    from clbench.config import RunConfig
    from clbench.scenario import Task


def load_image_model(config: RunConfig, tasks: Sequence[Task], labels: int, device: torch.device) -> LoadedModel:
    """The model ``config.model`` with a new output layer of ``labels`` columns, on the CPU, and no tokenizer.

    Random weights come from torch's global generator. Images are of the scenario's one shape, pixels in 0..1; a
    pretrained model resizes and normalises them by itself; what standardises them does so by the training images of
    all tasks.

    Raises:
        InputError: the model cannot be had or is damaged, or its channels are not the images'.
    """
    if config.keep_head:
        raise InputError("--keep-head keeps output layers of models that read texts; leave it away")
    shape = common_shape(task.train for task in tasks)
    if is_made_on_the_spot(config.model):
        made = make_network(config.model, shape, labels, config.dropout)
        for layer in made.modules():
            if isinstance(layer, Standardise):
                layer.fit(images_tensor(task.train) for task in tasks)
        output_layer = "network.classifier" if isinstance(made, ImageModel) else "classifier"
        return LoadedModel(made, None, make_head(made, output_layer))
    try:
        return _load_pretrained(config, shape, labels, device)
    except InputError:
        raise
    except Exception as error:  # safetensors and timm raise plain Exceptions for damaged files
        raise cannot_load(config.model, error) from error


def make_network(model: str, shape: Sequence[int], labels: int, dropout: float = 0.0) -> nn.Module:
    """One of our own networks with random weights, on the CPU.

    Args:
        model: its name and arguments, as ``--model`` has them.
        shape: of the images: channels, height, width.
        labels: columns of its output layer.
        dropout: where the network has any.
    """
    name, arguments = split_model_name(model)
    if name == "tiny":
        channels, height, width = shape
        return tiny_image_model((channels, height, width), labels)
    if name == "mlp":
        return make_mlp(shape, labels=labels, **arguments)
    if name == "smallconv":
        return make_smallconv(shape, labels)
    if name == "vit":
        return make_vit(shape, labels=labels, dropout=dropout, **arguments)
    return ImageModel(EfficientNetLite0(labels, dropout), lite0_preprocessing(arguments["size"]))


def lite0_preprocessing(size: int) -> Preprocessing:
    """What EfficientNet-Lite0 wants of images, at ``size`` pixels a side."""
    return Preprocessing((size, size), MEAN, STANDARD_DEVIATION)


def _load_pretrained(config: RunConfig, shape: Sequence[int], labels: int, device: torch.device) -> LoadedModel:
    name, arguments = split_model_name(config.model)
    new: list[str] = []
    timm: dict[str, Any] | None = None
    note, output_layer = "", "classifier"
    path = model_path(config.model)
    if name == "efficientnet_lite0":
        (file,) = Path(path).glob("*.pth")
        network = load_efficientnet_lite0(file, labels, config.dropout)
        preprocessing = lite0_preprocessing(arguments["size"])
    elif config.model.startswith(TIMM) or is_timm(read_json(path, "config.json")):
        network, output_layer, preprocessing, timm = load_timm(path, config, labels)
    else:
        network, output_layer, new, preprocessing, note = load_image_classifier(path, config, labels, device)
    preprocessing.check(shape)
    model = ImageModel(network, preprocessing, config.batch_norm, timm)
    head = make_head(model, f"network.{output_layer}", [f"network.{name}" for name in new])
    images = preprocessing.images_per_pass(device, shape)
    return LoadedModel(model, None, head, notes=(note,) if note else (), images_per_pass=images)
