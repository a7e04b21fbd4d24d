"""Examples as JSON and back, for a state that measures with them and does not learn from them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clbench.data import Example


def examples_as_json(examples: Sequence[Example]) -> dict[str, Any]:
    """What the model reads of texts or images, and each one's task."""
    tasks = [example["task_id"] for example in examples]
    if examples and "pixel_values" in examples[0]:
        shape = list(examples[0]["pixel_values"].shape)
        return {"pixels": [_spelled(example["pixel_values"]) for example in examples], "shape": shape, "tasks": tasks}
    types = [example["token_type_ids"].tolist() for example in examples if "token_type_ids" in example]
    of_pairs = {"types": types} if types else {}
    return {"tokens": [example["input_ids"].tolist() for example in examples], "tasks": tasks, **of_pairs}


def examples_from_json(state: dict[str, Any]) -> list[Example]:
    """What :func:`examples_as_json` was given, to the last bit; labels are 0."""
    if "pixels" in state:
        inputs = [{"pixel_values": _read(pixels, state["shape"])} for pixels in state["pixels"]]
    else:
        inputs = [{"input_ids": torch.tensor(tokens, dtype=torch.int64)} for tokens in state["tokens"]]
        for own, types in zip(inputs, state.get("types", ()), strict=False):
            own["token_type_ids"] = torch.tensor(types, dtype=torch.int64)
    return [{**own, "label": 0, "task_id": task} for own, task in zip(inputs, state["tasks"], strict=True)]


def _spelled(image: Tensor) -> str:
    return base64.b64encode(image.numpy().astype("<f4").tobytes()).decode("ascii")


def _read(pixels: str, shape: Sequence[int]) -> Tensor:
    return torch.tensor(np.frombuffer(base64.b64decode(pixels), "<f4").astype(np.float32)).view(*shape)
