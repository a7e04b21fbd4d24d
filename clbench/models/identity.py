"""What tells one pretrained model from another."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

from clbench.files import MEBIBYTE, open_file
from clbench.models.model_kinds import is_made_on_the_spot
from clbench.sources import cannot_load, model_path

# What transformers may read of a model's folder: settings, weights, tokenizer, templates, code.
READ = {".json", ".safetensors", ".bin", ".pth", ".txt", ".model", ".tiktoken", ".jinja", ".vocab", ".py"}
LARGEST_TEXT = 1024 * MEBIBYTE  # of all that is no weights; tokenizers take some ten


def model_identity(name: str) -> str:
    """SHA-256 over a folder's settings, weights, tokenizer and code; of a hub id the commit.

    What is made on the spot, as ``tiny`` is, has its own name.

    Raises:
        InputError: there is no such model.
    """
    if is_made_on_the_spot(name):
        return name
    path = model_path(name)
    folder = Path(path)
    if not os.path.isdir(folder):
        return f"{name}@{_hub_commit(name, path)}"
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.iterdir() if file.suffix in READ and file.is_file()):
        stat = file.stat()
        _check_size(name, file, stat.st_size)
        digest.update(f"{file.name} {_file_sha256(file, (stat.st_size, stat.st_mtime_ns))}\n".encode())
    return digest.hexdigest()


def _check_size(name: str, file: Path, size: int) -> None:
    """Refuse what is no part of a model, and may be as large as a disk, before it is read."""
    from safetensors import SafetensorError, safe_open

    if file.suffix == ".safetensors":
        try:
            with safe_open(file, "np"):  # compares what the header says with the file's size
                return
        except (SafetensorError, OSError) as error:
            raise cannot_load(name, ValueError(f"{file.name}: {error}")) from error
    if file.suffix != ".bin" and size > LARGEST_TEXT:
        raise cannot_load(name, ValueError(f"{file.name} is larger than {LARGEST_TEXT // MEBIBYTE} MiB"))


@cache
def _file_sha256(file: Path, _size_and_time: tuple[int, int]) -> str:
    with open_file(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hub_commit(name: str, path: str) -> str:
    """The commit of the hub's model that is in the cache, after asking the hub where it can be reached."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(path, "config.json")).parent.name
    except Exception as error:  # the hub's client raises many kinds, of requests and of its own
        raise cannot_load(name, error) from error
