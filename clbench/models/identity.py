"""What tells one pretrained model from another."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

from clbench.sources import cannot_load, model_path

# What transformers may read of a model's folder: settings, weights, tokenizer, templates, code.
READ = {".json", ".safetensors", ".bin", ".txt", ".model", ".tiktoken", ".jinja", ".vocab", ".py"}


def model_identity(name: str) -> str:
    """SHA-256 over a folder's settings, weights, tokenizer and code; of a hub id the commit; ``tiny`` is its own name.

    Raises:
        InputError: there is no such model.
    """
    if name == "tiny":
        return name
    path = model_path(name)
    folder = Path(path)
    if not os.path.isdir(folder):
        return f"{name}@{_hub_commit(name)}"
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.iterdir() if file.suffix in READ and file.is_file()):
        stat = file.stat()
        digest.update(f"{file.name} {_file_sha256(file, (stat.st_size, stat.st_mtime_ns))}\n".encode())
    return digest.hexdigest()


@cache
def _file_sha256(file: Path, _size_and_time: tuple[int, int]) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hub_commit(name: str) -> str:
    """The commit of the hub's model that is in the cache, after asking the hub where it can be reached."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, "config.json")).parent.name
    except Exception as error:  # the hub's client raises many kinds, of requests and of its own
        raise cannot_load(name, error) from error
