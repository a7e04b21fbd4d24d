"""A list of examples as tensors and JSON values, for a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from clbench.data import Example


def pack(examples: Sequence[Example]) -> dict[str, Any]:
    """What :func:`unpack` makes the same examples from: a tensor a key, or a list of strings.

    Every example must have the same keys. Tensors of one key may differ in their first dimension.
    """
    keys = list(examples[0]) if examples else []
    return {"count": len(examples), "values": {key: _pack_values([e[key] for e in examples]) for key in keys}}


def unpack(packed: dict[str, Any]) -> list[Example]:
    """The examples that :func:`pack` was given; they share no memory with ``packed``."""
    columns = {key: _unpack_values(values) for key, values in packed["values"].items()}
    return [{key: values[number] for key, values in columns.items()} for number in range(packed["count"])]


def _pack_values(values: list[Any]) -> dict[str, Any]:
    first = values[0]
    if isinstance(first, str):
        return {"strings": values}
    if not isinstance(first, Tensor):
        return {"numbers": torch.tensor(values, dtype=torch.float64 if isinstance(first, float) else torch.int64)}
    if all(value.shape == first.shape for value in values):
        return {"stacked": torch.stack(values)}
    return {"joined": torch.cat(values), "lengths": torch.tensor([len(value) for value in values])}


def _unpack_values(packed: dict[str, Any]) -> list[Any]:
    if "strings" in packed:
        return list(packed["strings"])
    if "numbers" in packed:
        return list(packed["numbers"].tolist())
    if "stacked" in packed:
        return [value.clone() for value in packed["stacked"].unbind()]
    return [value.clone() for value in packed["joined"].split(packed["lengths"].tolist())]
