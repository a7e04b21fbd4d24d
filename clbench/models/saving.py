"""Writes a trained model as transformers and PEFT write it, with its tokenizer and the labels' names."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from clbench.head import Head
from clbench.models.deployment import LINEAR
from clbench.models.frozen_precision import full_weights
from clbench.models.image_folders import (
    NETWORK,
    SETTINGS,
    is_own,
    save_network,
    save_preprocessing,
    timm_settings,
    write_json,
)
from clbench.models.image_model import ImageModel

# PEFT's name for what several modules that answer together come to.
JOINED = "joined"
# What PEFT puts before the names of the model that it wraps.
WRAPPED = "base_model.model."


class Unfit(Exception):
    """This model cannot be written in this form; the message says why, in the words of a line that begins with it."""


def label_names(labels: Sequence[str], tasks: Sequence[tuple[str, Sequence[int]]]) -> list[str]:
    """The labels' names for a config.json, where no two may be equal: those that are get their task's in front.

    Args:
        labels: of each column.
        tasks: name and columns of each task.
    """
    count = Counter(labels)
    of = {column: name for name, columns in reversed(tasks) for column in columns}
    return [f"{of.get(n, 'unknown')}/{label}" if count[label] > 1 else label for n, label in enumerate(labels)]


def save_tokenizer(tokenizer: Any, folder: Path, max_length: int, padding_side: str, *, pairs: bool = False) -> None:
    """A copy of ``tokenizer`` that cuts and pads by itself as the run did, and gives the model what the run gave it.

    That is nothing but tokens, and of ``pairs`` also their types where the model reads them.
    """
    own = copy.deepcopy(tokenizer)
    own.model_max_length, own.padding_side = max_length, padding_side
    types = ["token_type_ids"] if pairs and "token_type_ids" in tokenizer.model_input_names else []
    own.model_input_names = ["input_ids", *types, "attention_mask"]
    # save_pretrained writes what it was made with, not what it was set to since.
    for name in ("padding_side", "truncation_side", "model_input_names", "split_special_tokens"):
        own.init_kwargs[name] = getattr(own, name)
    own.save_pretrained(folder)


def save_classifier(model: Any, folder: Path, names: Sequence[str], replaced: Mapping[str, Tensor]) -> None:
    """A model of transformers' as ``save_pretrained`` does it, or one of timm's.

    Args:
        model: with its output layer.
        folder: a new one.
        names: of the labels.
        replaced: weights by name that stand in the place of the model's own.

    Raises:
        Unfit: it is no model of transformers' or timm's, or has no weight of a name in ``replaced``.
    """
    check_plain(model)
    if unknown := set(replaced) - set(model.state_dict()):
        raise Unfit(f"its output layer has no {min(unknown)}")
    if isinstance(model, ImageModel):
        if model.timm is None:
            name_labels(model.network.config, names)
        save_network(model, folder, names, {plain_name(model, name): value for name, value in replaced.items()})
        return
    name_labels(model.config, names)
    model.save_pretrained(folder, state_dict=full_weights(model, replaced))


def check_plain(model: Any) -> None:
    """Refuse a model that no library but ours loads.

    Raises:
        Unfit: names it.
    """
    network = model.network if isinstance(model, ImageModel) else model
    if is_own(model):
        raise Unfit(f"{type(network).__name__} is no model of transformers'")


def plain_name(model: Any, name: str) -> str:
    """What the parameter or module ``name`` of ``model`` is called in its folder."""
    return name.removeprefix(NETWORK) if isinstance(model, ImageModel) else name


def centred(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The layer less what all its rows share, on the CPU: the same probabilities, of numbers that fp32 can hold.

    Scores of prototypes, such as μᵀ S⁻¹ x, share a part that is much larger than what tells them apart.

    Args:
        weight: (labels, features) in fp64.
        bias: (labels,); the lowest number of fp32 for a label that is never answered, whose row stays.
    """
    answered = bias > torch.finfo(torch.float32).min
    shared = weight[answered].mean(0), bias[answered].mean()
    return (
        torch.where(answered[:, None], weight - shared[0], weight).cpu(),
        torch.where(answered, bias - shared[1], bias).cpu(),
    )


def save_base(model: Any, folder: Path, head: Head) -> None:
    """The model that an adapter is for, without its output layer, which comes with the adapter."""
    weights = full_weights(model)
    own = {plain_name(model, name): value for name, value in weights.items() if name not in head.parameters}
    network: Any = model.network if isinstance(model, ImageModel) else model
    network.save_pretrained(folder, state_dict=own)


def save_encoder(model: Any, folder: Path, linear: tuple[Tensor, Tensor]) -> None:
    """The body alone, for ``AutoModel``, and beside it weights and biases of the layer that reads its token states."""
    body = getattr(model, "base_model", model)
    if body is model or not hasattr(body, "save_pretrained"):
        raise Unfit(f"{type(model).__name__} has no body of its own")
    body.save_pretrained(folder, state_dict=full_weights(body))
    weight, bias = (part.detach().cpu().contiguous() for part in linear)
    save_file({"weight": weight, "bias": bias}, folder / LINEAR)


def save_adapter(model: Any, folder: Path, names: Sequence[str], base: str, head: Head, task: str | None) -> None:
    """The active modules of PEFT's ``model`` as one adapter folder, with the head's weights and the model's config.

    Modules that answer together are written as one of the sum of their ranks, which computes the same.

    Args:
        model: PEFT's.
        folder: a new one.
        names: of the labels.
        base: what the adapter is for, as PEFT will look for it.
        head: which parts of the model start from nothing and so belong to the adapter.
        task: what PEFT calls what the model does; None where it has no name for it.

    Raises:
        Unfit: PEFT cannot join the modules, a weight of the head lies in no module, or no other library has the model.
    """
    if head.bare & head.parameters:
        raise Unfit(f"its {min(head.bare & head.parameters)} lies in no module, where PEFT does not find it")
    from peft import get_peft_model_state_dict

    base_model = model.get_base_model()
    check_plain(base_model)
    active = list(model.active_adapters)
    name = JOINED if len(active) > 1 else active[0]
    if len(active) > 1:
        try:
            model.add_weighted_adapter(active, [1.0] * len(active), JOINED, combination_type="cat")
        except (ValueError, AttributeError, NotImplementedError) as error:
            raise Unfit(f"its modules cannot be joined: {error}") from error
    try:
        settings = copy.deepcopy(model.peft_config[name])
        weights = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
        tensors = {
            _outside(base_model, key): value.detach().cpu().contiguous().clone() for key, value in weights.items()
        }
    finally:
        if len(active) > 1:
            model.delete_adapter(JOINED)
    for key, parameter in model.named_parameters():
        if (original := head.original(key)) in head.parameters:
            tensors[WRAPPED + plain_name(base_model, str(original))] = parameter.detach().cpu().contiguous().clone()
    settings.modules_to_save = sorted(plain_name(base_model, name) for name in head.modules) or None
    for named in ("target_modules", "feedforward_modules"):
        if isinstance(base_model, ImageModel) and getattr(settings, named, None):
            setattr(settings, named, sorted(plain_name(base_model, name) for name in getattr(settings, named)))
    settings.task_type, settings.inference_mode, settings.base_model_name_or_path = task, True, base
    folder.mkdir(parents=True, exist_ok=True)
    settings.save_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    save_settings(base_model, folder, names)


def _outside(model: Any, key: str) -> str:
    """A name of PEFT's around ``model`` as it is around what lies in a folder."""
    return WRAPPED + plain_name(model, key.removeprefix(WRAPPED))


def save_settings(model: Any, folder: Path, names: Sequence[str]) -> None:
    """The configuration of a model with its labels' names, and what it wants of images."""
    if isinstance(model, ImageModel):
        save_preprocessing(model, folder)
        if model.timm is not None:
            write_json(folder / SETTINGS, timm_settings(model.timm, names))
            return
    config: Any = (model.network if isinstance(model, ImageModel) else model).config
    name_labels(config, names)
    config.save_pretrained(folder)


def name_labels(config: Any, names: Sequence[str]) -> None:
    """Give a model's configuration its labels' names, where it has labels."""
    if not names:
        return
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    config.problem_type = "single_label_classification"


def cut_rows(layer: nn.Linear, columns: Sequence[int]) -> nn.Linear:
    """A layer of those rows of ``layer`` that are ``columns``."""
    own = nn.Linear(layer.in_features, len(columns), bias=layer.bias is not None)
    with torch.no_grad():
        own.weight.copy_(layer.weight[list(columns)])
        if layer.bias is not None:
            own.bias.copy_(layer.bias[list(columns)])
    return own
