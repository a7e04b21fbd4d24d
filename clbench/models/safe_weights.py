"""Refuses a model folder whose index of safetensors names files that are pickles, which run code when loaded."""

from __future__ import annotations

import json
from pathlib import Path


def check_weight_index(path: str, allow_pickle: bool) -> None:
    """ValueError if an index of weights in the folder ``path`` names another file than safetensors (or is no index).

    transformers loads every file that ``model.safetensors.index.json`` names, by its own suffix. A hub id is no folder
    and passes.
    """
    if allow_pickle:
        return
    for index in sorted(Path(path).glob("*.safetensors.index.json")):
        content = json.loads(index.read_bytes())
        names = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(names, dict):
            raise ValueError(f"{index.name} holds no weight_map")
        for name in sorted(map(str, names.values())):
            if not name.endswith(".safetensors"):
                raise ValueError(f"{index.name} names {name}, which is not safetensors; see --allow-pickle")
