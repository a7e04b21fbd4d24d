"""Whether weights, examples and states are the same to the last bit, and if not, where they differ."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clbench.data import Example, TaskData


def tensor_bits(tensor: Tensor) -> bytes:
    """Type, shape and bits of ``tensor``; NaN equals NaN here, and 0 differs from −0."""
    flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return f"{tensor.dtype}{tuple(tensor.shape)}".encode() + flat.numpy().tobytes()


def model_fingerprint(model: nn.Module) -> str:
    """SHA-256 over the names and bits of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + tensor_bits(value))
    return digest.hexdigest()


def task_fingerprints(task: TaskData) -> dict[str, str]:
    """SHA-256 over the examples of train and of dev, in order."""
    return {"train": _examples_fingerprint(task.train), "dev": _examples_fingerprint(task.dev)}


def _examples_fingerprint(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        for key in sorted(example):
            value = example[key]
            bits = tensor_bits(value) if isinstance(value, Tensor) else repr(value).encode()
            digest.update(repr(key).encode() + bits)
    return digest.hexdigest()


def copy_state(value: Any) -> Any:
    """A copy of a state, nested dicts and lists of tensors and JSON values, that shares no memory with it."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copy_state(item) for key, item in value.items()}
    return [copy_state(item) for item in value] if isinstance(value, list) else value


def state_difference(one: Any, other: Any, where: str = "state_dict()") -> str:
    """The first place where two states differ, with both values; empty when they are equal."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return _tensor_difference(one, other, where)
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            if key not in one or key not in other:
                return f"{where}[{key!r}] is there once and once not"
        pairs: list[tuple[Any, Any, Any]] = [(key, one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return f"{where} has {len(one)} entries, then {len(other)}"
        pairs = list(zip(range(len(one)), one, other, strict=True))
    else:
        same = isinstance(one, bool) == isinstance(other, bool) and one == other
        return "" if same else f"{where} is {_short(one)}, then {_short(other)}"
    return next((found for key, a, b in pairs if (found := state_difference(a, b, f"{where}[{key!r}]"))), "")


def _tensor_difference(one: Tensor, other: Tensor, where: str) -> str:
    if one.dtype != other.dtype or one.shape != other.shape:
        return f"{where} is {one.dtype} {tuple(one.shape)}, then {other.dtype} {tuple(other.shape)}"
    if tensor_bits(one) == tensor_bits(other):
        return ""
    apart = (one.detach().cpu().double() - other.detach().cpu().double()).abs().max().item()
    return f"{where} differs by up to {apart:.3g}"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}…"
