"""How deep in the model each parameter lies, by the model's own structure: what freezing and rates by layer go by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from clbench.errors import InputError
from clbench.learner import Learner


def layer_names(learner: Learner) -> list[str]:
    """The layers of the body, from the input to the output, by their modules' names.

    They are the members of the outermost lists of modules, as every architecture of transformers and timm keeps its
    layers, stages or blocks, of an encoder before those of a decoder. A chain of single operations (a convolution and
    its norm) counts as one layer among others; where there is nothing else, as in a plain network, each that has
    weights is a layer.
    """
    lists = _outermost_lists(learner)
    composed = {name: any(_has_parts(learner, member) for member in members) for name, members in lists.items()}
    names: list[str] = []
    for name, members in lists.items():
        names += members if composed[name] or not any(composed.values()) else [name]
    return names


def _outermost_lists(learner: Learner) -> dict[str, list[str]]:
    """The outermost lists and chains of modules in the body, and their members that have weights."""
    found: dict[str, list[str]] = {}
    for name, module in learner.model.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential) or any(_inside(name, outer) for outer in found):
            continue
        if not name or learner.head.original(name) is None:
            continue  # what a strategy added
        members = [f"{name}.{key}" for key, child in module.named_children() if any(True for _ in child.parameters())]
        members = [member for member in members if not _holds_head(learner, member)]
        if isinstance(module, nn.ModuleList) or len(members) > 1 or any(_has_parts(learner, m) for m in members):
            found[name] = members
    return found


def _has_parts(learner: Learner, name: str) -> bool:
    return any(True for _ in learner.model.get_submodule(name).children())


def layer_depths(learner: Learner) -> dict[str, int]:
    """The depth of every parameter of the model by its name.

    0 is what comes before the first layer, and word embeddings wherever they stand; 1, 2, ... are the layers of
    :func:`layer_names`, each with what follows it (a norm, a pooler); one more than there are layers is the head.
    """
    layers = layer_names(learner)
    numbers = {layer: number for number, layer in enumerate(layers, start=1)}
    embeddings = {id(p) for m in learner.model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    found: dict[str, int] = {}
    reached = 0
    for name, parameter in learner.model.named_parameters():
        own = next((numbers[layer] for layer in layers if _inside(name, layer)), None)
        reached = own or reached
        outside = 0 if id(parameter) in embeddings else reached
        found[name] = len(layers) + 1 if learner.is_head(name) else own or outside
    return found


def check_layers(strategy: str, learner: Learner) -> int:
    """How many layers the body has.

    Raises:
        InputError: none can be told.
    """
    if not (count := len(layer_names(learner))):
        raise InputError(f"{strategy}: {type(learner.model).__name__} has no list of layers to tell them by")
    return count


def split_groups(
    learner: Learner, groups: list[dict[str, Any]], change: Callable[[str, dict[str, Any]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """``groups`` of an optimizer, split so that each parameter has the settings that ``change`` gives it.

    Args:
        learner: the model.
        groups: those to split; parameters keep their order.
        change: from a parameter's name and its group's settings to its own.
    """
    names = {id(parameter): name for name, parameter in learner.named_parameters()}
    split: list[dict[str, Any]] = []
    for group in groups:
        settings = {key: value for key, value in group.items() if key != "params"}
        parts: list[dict[str, Any]] = []
        for parameter in group["params"]:
            own = change(names[id(parameter)], settings)
            part = next((part for part in parts if all(part[key] == value for key, value in own.items())), None)
            if part is None:
                parts.append(part := {**own, "params": []})
            part["params"].append(parameter)
        split += parts
    return split


def _inside(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def _holds_head(learner: Learner, name: str) -> bool:
    module = learner.model.get_submodule(name)
    return learner.is_head(name) or any(learner.is_head(f"{name}.{own}") for own, _ in module.named_parameters())
