"""The layers of a model's body, by name, where modules, adapters and scales go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from clbench.errors import InputError
from clbench.learner import Learner

# A linear layer of torch's, or GPT-2's, whose weight is (inputs, outputs).
LINEAR = (nn.Linear, Conv1D)


def body_layers(learner: Learner) -> dict[str, nn.Module]:
    """Every linear layer of the body by its name, in the model's order; none over a vocabulary."""
    model: Any = learner.model
    vocabulary = None if learner.kind.over_labels else model.get_output_embeddings()
    named = ((name, m) for name, m in model.named_modules() if isinstance(m, LINEAR) and m is not vocabulary)
    return {name: module for name, module in named if not learner.is_head(name)}


def module_layers(learner: Learner) -> dict[str, nn.Module]:
    """Where LoRA modules may go: the body's linear layers, or its plain convolutions where it has no linear layer.

    A convolution of groups has too few weights a channel for a low rank, and PEFT's module knows no dilation.
    """
    return body_layers(learner) or {
        name: module
        for name, module in learner.model.named_modules()
        if is_plain_convolution(module) and not learner.is_head(name)
    }


def is_plain_convolution(layer: nn.Module) -> bool:
    """Whether a layer is torch's convolution of images, of one group and without dilation."""
    return type(layer) is nn.Conv2d and layer.groups == 1 and set(layer.dilation) == {1}


def matching(names: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """Those of ``names`` that are one of ``wanted`` or end in one after a dot, as PEFT matches them."""
    return [name for name in names if any(name == end or name.endswith(f".{end}") for end in wanted)]


def layer_sizes(layer: nn.Module) -> tuple[int, int]:
    """How many inputs and outputs a linear layer has, or a convolution at each place."""
    one, other = layer.get_parameter("weight").flatten(1).shape
    return (one, other) if isinstance(layer, Conv1D) else (other, one)


def no_such_layer(strategy: str, given: str, layers: Iterable[str], learner: Learner) -> InputError:
    """The error line where the names in ``given`` match none of ``layers``; what the body has where it has none."""
    if known := ", ".join(sorted({name.rsplit(".", 1)[-1] for name in layers})):
        return InputError(f"{strategy}: {given} match no layer; allowed: {known}")
    weighing = ((name, type(module).__name__) for name, module in learner.model.named_modules() if own_weights(module))
    counts = Counter(kind for name, kind in weighing if not learner.is_head(name))
    there = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    return InputError(
        f"{strategy}: {given} match no layer; allowed: linear layers, and this model's body has none, only {there}"
    )


def own_weights(module: nn.Module) -> bool:
    """Whether the module itself has parameters."""
    return next(module.parameters(recurse=False), None) is not None
