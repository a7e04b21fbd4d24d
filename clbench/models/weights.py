"""What a checkpoint lacks and what in it matches nothing: new beside the body, or a reason not to load it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Probe(Protocol):
    """Made-up texts or images."""

    def inputs(self) -> dict[str, Tensor]:
        """A model's keyword arguments for one of them."""


def new_parameters(model: Any, loading: Mapping[str, Any], output_layer: str, probe: Probe) -> list[str]:
    """The parameters that the checkpoint lacked, none of which the body needs.

    Args:
        model: transformers', with its output layer ``output_layer``.
        loading: what transformers tells of loading it: missing, unexpected and mismatched keys.
        output_layer: its name; whatever its size was, it is made anew.
        probe: for a forward pass.

    Raises:
        ValueError: weights of the body are missing, of another size, or match nothing in the model.
    """
    mismatched = [name for name, *_ in loading["mismatched_keys"] if name.rpartition(".")[0] != output_layer]
    if mismatched:
        raise ValueError(f"the weights of {mismatched[0]} have another size than config.json says")
    missing = [name for name, _ in model.named_parameters() if name in set(loading["missing_keys"])]
    needed = _needed_by_body(model, missing, output_layer, probe)
    unknown = sorted(loading["unexpected_keys"])
    if needed:
        total = sum(1 for name, _ in model.named_parameters() if name.rpartition(".")[0] != output_layer)
        reason = f"{len(needed)} of {total} weights are not in the checkpoint, such as {needed[0]}"
        rest = f"; {len(unknown)} in it match nothing, such as {unknown[0]}" if unknown else ""
        raise ValueError(reason + rest)
    if left_out := _of_the_body(model, unknown):
        raise ValueError(
            f"{len(left_out)} weights of the checkpoint match nothing in the model that config.json describes, such as "
            f"{left_out[0]}"
        )
    return missing


def _needed_by_body(model: Any, missing: Sequence[str], output_layer: str, probe: Probe) -> list[str]:
    """Those of ``missing`` on which the body's last states depend: no pooler and no layer after it."""
    body = model.base_model
    inside = {id(p) for p in body.parameters()}
    named = {name: p for name, p in model.named_parameters() if name in set(missing) and id(p) in inside}
    if body is model:
        named = {name: p for name, p in named.items() if name.rpartition(".")[0] != output_layer}
    if not named:
        return []
    states: list[torch.Tensor] = []
    hook = body.register_forward_hook(lambda _, __, output: states.append(output[0]))
    learning = [p for p in model.parameters() if p.requires_grad]
    model.requires_grad_(False)
    try:
        for parameter in named.values():
            parameter.requires_grad_(True)
        model(**probe.inputs())
        if not states[-1].requires_grad:
            return []
        gradients = torch.autograd.grad(states[-1].sum(), list(named.values()), allow_unused=True)
    finally:
        hook.remove()
        model.requires_grad_(False)
        for parameter in learning:
            parameter.requires_grad_(True)
    return [name for name, gradient in zip(named, gradients, strict=True) if gradient is not None]


def _of_the_body(model: Any, unknown: Sequence[str]) -> list[str]:
    """Those of ``unknown`` that belong to a layer like one of the model's: a layer too many, a bias that is left out.

    Another output layer's weights, as a checkpoint of masked language modelling has, belong to none.
    """
    like = {
        re.sub(r"\d+", "#", name)
        for name, module in model.named_modules()
        if name and isinstance(module, nn.Module) and any(True for _ in module.parameters(recurse=False))
    }
    prefix = f"{model.base_model_prefix}."
    layers = [(key, re.sub(r"\d+", "#", key.rpartition(".")[0])) for key in unknown]
    named = [(key, layer) for key, layer in layers if key.endswith((".weight", ".bias"))]
    return [key for key, layer in named if layer in like or prefix + layer in like]


def renew(model: Any, layer_name: str) -> None:
    """Give the layer random weights as its architecture does it, where it came with the pretrained model."""
    own = {id(parameter) for parameter in model.get_submodule(layer_name).parameters()}
    for parameter in model.parameters():
        parameter._is_hf_initialized = id(parameter) not in own
    # Some architectures initialise a layer where they see it, others where they see what it is part of; the last holds.
    parts = layer_name.split(".")
    for end in range(len(parts), -1, -1):
        model._init_weights(model.get_submodule(".".join(parts[:end])))
