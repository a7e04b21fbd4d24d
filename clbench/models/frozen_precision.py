"""Weights that never learn, kept in bf16: half of their memory, and of a run that computes in bf16 the same bits.

Under autocast each layer rounds its fp32 weight to bf16 whenever it multiplies; here it is rounded once. What learns
stays in fp32, where the many small steps of an optimizer are not lost, and so does what no autocast rounds: norms,
biases and embeddings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from clbench.errors import InputError
from clbench.head import Head

# Layers whose weights autocast rounds.
MULTIPLIED = (nn.Linear, Conv1D, nn.Conv1d, nn.Conv2d, nn.Conv3d)
OPTION = "--frozen-precision bf16"


def store_in_bf16(model: nn.Module, head: Head, precision: str) -> None:
    """Keep the weights of the body's linear layers and convolutions in bf16, in place.

    Args:
        model: as it was loaded, in fp32.
        head: its head, which learns.
        precision: that the run computes in.

    Raises:
        InputError: the run computes in another precision, or the body has no such layer.
    """
    if precision != "bf16":
        raise InputError(
            f"{OPTION}: this run computes in {precision}, where rounded weights would give other answers; allowed: "
            "with --precision bf16"
        )
    looked_up = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    found = [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, MULTIPLIED) and not head.owns(name) and id(module.weight) not in looked_up
    ]
    if not found:
        raise InputError(f"{OPTION}: the model's body has no linear layer and no convolution; leave it away")
    for weight in found:
        weight.data = weight.data.to(torch.bfloat16)


def check_stored(learning: Iterable[tuple[str, nn.Parameter]], strategy: str) -> None:
    """Refuse a strategy that lets learn what is kept in bf16.

    Args:
        learning: parameters by name.
        strategy: as it was given.

    Raises:
        InputError: names the first such weight.
    """
    stored = next((name for name, parameter in learning if parameter.dtype == torch.bfloat16), None)
    if stored is not None:
        raise InputError(
            f"{OPTION}: {strategy!r} lets {stored} learn, and only what stays frozen may be kept in bf16; allowed: "
            "strategies that freeze the body, such as lora_sequential, adapter or slda"
        )


def full_weights(model: Any, replaced: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The state dict of ``model`` in fp32, as libraries expect it of a folder; ``replaced`` in the place of its own."""
    own = {**model.state_dict(), **(replaced or {})}
    return {name: value.float() if value.dtype == torch.bfloat16 else value for name, value in own.items()}


@contextmanager
def told_as_fp32(model: nn.Module) -> Iterator[None]:
    """Inside, weights in bf16 are zeros in fp32 that take no memory, for code that makes modules of a weight's type.

    PEFT would otherwise round the random numbers that a module begins with.
    """
    stored = [(parameter, parameter.data) for parameter in model.parameters() if parameter.dtype == torch.bfloat16]
    try:
        for parameter, data in stored:
            parameter.data = data.new_zeros(1, dtype=torch.float32).expand(data.shape)
        yield
    finally:
        for parameter, data in stored:
            parameter.data = data
