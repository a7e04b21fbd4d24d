"""Names of models: built-in ones, folders and hub ids. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

from clbench.errors import InputError, nearest
from clbench.files import expand
from clbench.sources.model_arguments import split_model_name
from clbench.sources.pinned import SOURCES

# What `list models` shows; any other name is a folder or a hub id.
BUILT_IN = {
    "minilm": "all-MiniLM-L6-v2, a pretrained sentence encoder: 6 layers, 22.7 M parameters; text",
    "smollm2": "SmolLM2-135M-Instruct, a pretrained language model: 30 layers, 134.5 M parameters; text (extra gguf)",
    "efficientnet_lite0": "EfficientNet-Lite0, pretrained on ImageNet: 4.65 M parameters; images, resized to [64] "
    "pixels, or as in efficientnet_lite0(SIZE)",
    "mlp": "hidden layers of rectified units, as in mlp(WIDTH,DEPTH), randomly initialised: [400,2]; images, their "
    "pixels standardised by mlp(WIDTH,DEPTH,1)",
    "smallconv": "four convolutions (32, 32, 64, 64 channels) and 512 hidden units, randomly initialised; images",
    "vit": "a vision transformer of 16 patches, as in vit(WIDTH,DEPTH), randomly initialised: [64,2]; images",
    "tiny": "randomly initialised on the spot: a two-layer BERT with its own tokenizer (text), a small CNN (images)",
}

ALLOWED = f"allowed: {', '.join(BUILT_IN)}, a folder, a hub id"
OTHER_MODELS = "a folder in transformers' or timm's format, a hub id, timm:NAME for images (extra timm)"
TIMM = "timm:"  # before the name of a model of timm's, which the hub has under its owner "timm", or a folder

# Where the hub has the very same files (by their SHA-256), for whoever loads an adapter without clbench.
HUB_IDS = {"minilm": "sentence-transformers/all-MiniLM-L6-v2"}


def model_path(name: str) -> str:
    """The folder of a built-in or local model, else ``name`` itself as a hub id.

    Raises:
        InputError: a path that is not there, or a folder without a model.
    """
    known, _ = split_model_name(name)
    if known in BUILT_IN and known in SOURCES:
        from clbench.sources.cache import model_folder

        return str(model_folder(known))
    if name.startswith(TIMM):
        return model_path(rest) if os.path.isdir(rest := name.removeprefix(TIMM)) else f"timm/{rest}"
    folder = expand(name, "model")
    if os.path.isdir(folder):  # not folder.is_dir(), which raises for a name too long
        if not (folder / "config.json").is_file():
            raise InputError(f"model folder {name!r} holds no config.json; allowed: a folder in transformers' format")
        return str(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        hint = _similar_folder(folder)
        raise InputError(f"model folder {name!r} does not exist;{hint} {ALLOWED}")
    return name


def cannot_load(name: str, error: Exception) -> InputError:
    """The error line for a model that cannot be loaded; where no folder has its name, that comes first.

    Args:
        name: as the person gave it.
        error: what happened, a hub's client's error where ``name`` was taken for a hub id.
    """
    reason = " ".join(str(error).split())[:300]
    folder = expand(name, "model")
    if split_model_name(name)[0] in BUILT_IN or os.path.isdir(folder):
        return InputError(f"model {name!r} cannot be loaded: {reason}; {ALLOWED}")
    hint = _similar_folder(folder)
    return InputError(f"model {name!r} is no folder here;{hint} as a hub id it cannot be loaded: {reason}; {ALLOWED}")


def _similar_folder(folder: Path) -> str:
    """A question about the model folder beside ``folder`` whose name is most like its own; empty if there is none."""
    try:
        beside = [path.name for path in folder.parent.iterdir() if (path / "config.json").is_file()]
    except OSError:
        return ""
    close = nearest(folder.name, beside)
    return f" did you mean {str(folder.parent / close)!r}?" if close else ""
