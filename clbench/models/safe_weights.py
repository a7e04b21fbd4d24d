"""Refuses a model whose files name weights that are pickles, which run code when loaded, or lie elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from clbench.files import read_file

INDEX = "model.safetensors.index.json"


def check_weight_files(path: str, allow_pickle: bool) -> None:
    """ValueError if the model ``path``, a folder or a hub id, names another file of weights than safetensors.

    transformers loads what config.json calls its weights, every file that an index of safetensors names, by its own
    suffix, and the model that an adapter was made for, wherever that lies.
    """
    if allow_pickle:
        return
    if find_file(path, "adapter_config.json"):
        raise ValueError("it is an adapter (adapter_config.json), which loads another model; merge it into that first")
    named = read_json(path, "config.json").get("transformers_weights")
    if named is not None:
        _check_name("config.json", named, (".safetensors", ".safetensors.index.json"))
    for index in dict.fromkeys((INDEX, str(named))):
        if index.endswith(".index.json") and find_file(path, index):
            files = read_json(path, index).get("weight_map")
            if not isinstance(files, dict):
                raise ValueError(f"{index} holds no weight_map")
            for name in sorted(map(str, files.values())):
                _check_name(index, name, (".safetensors",))


def _check_name(where: str, name: object, allowed: tuple[str, ...]) -> None:
    if not str(name).endswith(allowed):
        raise ValueError(f"{where} names {name}, which is not safetensors; see --allow-pickle")


def read_json(path: str, name: str) -> dict[str, Any]:
    """The JSON object in a file of the model; empty where there is none."""
    file = find_file(path, name)
    content = json.loads(read_file(file)) if file else None
    return content if isinstance(content, dict) else {}


def find_file(path: str, name: str) -> Path | None:
    """A file of the model, fetched first where ``path`` is a hub id; None where it has no such file."""
    if os.path.isdir(path):
        file = Path(path) / name
        return file if file.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(path, name))
    except EntryNotFoundError:  # also where there is no network, and none was fetched before
        return None
