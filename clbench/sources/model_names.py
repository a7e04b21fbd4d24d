"""Names of models: built-in ones, folders and hub ids. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

from clbench.errors import InputError

# What `list models` shows; any other name is a folder in transformers' format or a hub id.
BUILT_IN = {
    "minilm": "all-MiniLM-L6-v2, a pretrained sentence encoder: 6 layers, 22.7 M parameters; text",
    "tiny": "randomly initialised on the spot: a two-layer BERT with its own tokenizer (text), a small CNN (images)",
}


def model_path(name: str) -> str:
    """The folder of a built-in or local model, else ``name`` itself as a hub id.

    Raises:
        InputError: a path that is not there, or a folder without a model.
    """
    if name == "minilm":
        from clbench.sources.cache import model_folder

        return str(model_folder(name))
    folder = Path(name).expanduser()
    if os.path.isdir(folder):  # not folder.is_dir(), which raises for a name too long
        if not (folder / "config.json").is_file():
            raise InputError(f"model folder {name!r} holds no config.json; allowed: a folder in transformers' format")
        return str(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise InputError(f"model folder {name!r} does not exist; allowed: {', '.join(BUILT_IN)}, a folder, a hub id")
    return name
