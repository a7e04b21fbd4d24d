"""Checkpoints: nested dicts of tensors and JSON values as safetensors and JSON with a checksum manifest. No pickle."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from xxhash import xxh3_128

import clbench
from clbench.engine.tensor_file import DTYPES, as_bytes, write_tensors
from clbench.errors import InputError, RunError
from clbench.files import open_file, read_file, remove_path, replace_folder

TENSORS, VALUES, MANIFEST = "state.safetensors", "state.json", "manifest.json"
REFERENCE = "__tensor__"


@dataclass(frozen=True)
class Snapshot:
    """A state as it was at one moment: copies of its tensors, numbered, and the rest as JSON that refers to them.

    Equal tensors are there once: an anchor, say, and the weights that have just become it.
    """

    tensors: dict[str, Tensor]
    values: str


def save_checkpoint(folder: Path, state: dict[str, Any], run_hash: str) -> None:
    """Write ``state`` to ``folder``; see :func:`take_snapshot` and :func:`write_snapshot`."""
    write_snapshot(folder, take_snapshot(state), run_hash)


def take_snapshot(state: dict[str, Any]) -> Snapshot:
    """Copy ``state``, nested dicts and lists of tensors and JSON values, so that it may change from here on.

    Raises:
        TypeError: it holds something else.
    """
    tensors: dict[str, Tensor] = {}
    return Snapshot(tensors, json.dumps(_take_tensors(state, tensors, {}), allow_nan=False))


def write_snapshot(folder: Path, snapshot: Snapshot, run_hash: str) -> None:
    """Write ``snapshot`` to ``folder``; the checkpoint that was there stays until the new one is whole on the disk.

    Args:
        folder: the checkpoint's folder; ``folder.new`` and ``folder.old`` beside it are used in between.
        snapshot: the state.
        run_hash: the configuration that the state belongs to.

    Raises:
        RunError: the disk is full or the folder cannot be written; the checkpoint that was there is whole.
    """
    try:
        _write(folder, snapshot, run_hash)
    except OSError as error:
        shutil.rmtree(folder.with_suffix(".new"), ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"checkpoint {folder} cannot be written: {reason}; the one before is kept") from error


def _write(folder: Path, snapshot: Snapshot, run_hash: str) -> None:
    new = folder.with_suffix(".new")
    remove_path(new)
    new.mkdir(parents=True)
    (new / VALUES).write_text(snapshot.values, encoding="utf-8")
    checksums = {TENSORS: write_tensors(new / TENSORS, snapshot.tensors), VALUES: _checksum(new / VALUES)}
    sizes = {name: (new / name).stat().st_size for name in checksums}
    manifest = {"clbench": clbench.__version__, "run_hash": run_hash, "xxh3_128": checksums, "bytes": sizes}
    (new / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    replace_folder(new, folder)


def load_checkpoint(folder: Path, run_hash: str, advice: str = "") -> dict[str, Any] | None:
    """The state in ``folder`` (or in the one kept beside it), None when there is none.

    Args:
        folder: the checkpoint's.
        run_hash: the configuration that it must belong to.
        advice: what an error line says to do; to delete it and start again where nothing else is given.

    Raises:
        InputError: a file is missing, was changed or cut, or the state is of another version or configuration.
    """
    old = folder.with_suffix(".old")
    if not folder.exists():
        if not old.exists():
            return None
        # The process ended between the two renames: the previous checkpoint is whole.
        folder = old
    advice = advice or f"delete {folder} to start this run again"
    try:
        manifest = json.loads(read_file(folder / MANIFEST))
        recorded, version, owner = dict(manifest["xxh3_128"]), manifest["clbench"], manifest["run_hash"]
        sizes = {name: (folder / name).stat().st_size for name in (TENSORS, VALUES)}
        written = dict(manifest.get("bytes", {}))
        # Not of a file of another size, which may be as large as a disk.
        sums = {name: _checksum(folder / name) for name in sizes if sizes[name] == written.get(name)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"checkpoint {folder} is damaged ({type(error).__name__}: {error}); {advice}") from None
    if version != clbench.__version__:
        raise InputError(f"checkpoint {folder} was made by clbench {version}, this is {clbench.__version__}; {advice}")
    if owner != run_hash:
        raise InputError(f"checkpoint {folder} belongs to the configuration {owner}, not to {run_hash}; {advice}")
    for name in sizes:
        if name not in sums or recorded.get(name) != sums[name]:
            raise InputError(f"checkpoint file {folder / name} was changed or cut since it was written; {advice}")
    values = json.loads((folder / VALUES).read_text(encoding="utf-8"))
    state: dict[str, Any] = _put_tensors(values, load_file(folder / TENSORS), set())
    return state


def remove_checkpoint(folder: Path) -> None:
    """Delete the checkpoint and what an interrupted save left beside it."""
    # The folder itself last: while it is there, an interrupted removal is seen and finished.
    for path in (folder.with_suffix(".new"), folder.with_suffix(".old"), folder):
        remove_path(path)


def tensor_bytes(state: Any) -> int:
    """Bytes of all tensors in nested dicts and lists."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    items = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return sum(tensor_bytes(item) for item in items)


def _take_tensors(value: Any, tensors: dict[str, Tensor], keys: dict[tuple[Any, ...], str]) -> Any:
    if isinstance(value, Tensor):
        return {REFERENCE: _take_tensor(value, tensors, keys)}
    if isinstance(value, dict):
        if bad := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"a state's keys must be strings, got {bad[0]!r}")
        return {key: _take_tensors(item, tensors, keys) for key, item in value.items()}
    if isinstance(value, list):
        return [_take_tensors(item, tensors, keys) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a state holds tensors and JSON values only, got {type(value).__name__}: {value!r}")


def _take_tensor(value: Tensor, tensors: dict[str, Tensor], keys: dict[tuple[Any, ...], str]) -> str:
    """The key of ``value`` in ``tensors``, which gains a copy unless it holds an equal one."""
    if value.dtype not in DTYPES:
        raise TypeError(f"a state holds a tensor of {value.dtype}; allowed: {', '.join(map(str, DTYPES))}")
    host = value.detach().cpu().contiguous()
    content = xxh3_128(as_bytes(host)).digest()
    key = keys.setdefault((host.dtype, host.shape, content), str(len(tensors)))
    if key not in tensors:
        # A copy: the state goes on changing, and safetensors refuses tensors that share memory.
        tensors[key] = host.clone() if host.data_ptr() == value.data_ptr() else host
    return key


def _put_tensors(value: Any, tensors: dict[str, Tensor], given: set[str]) -> Any:
    if isinstance(value, dict):
        if set(value) == {REFERENCE}:
            key = value[REFERENCE]
            # What was equal when it was saved need not stay so.
            tensor = tensors[key].clone() if key in given else tensors[key]
            given.add(key)
            return tensor
        return {key: _put_tensors(item, tensors, given) for key, item in value.items()}
    return [_put_tensors(item, tensors, given) for item in value] if isinstance(value, list) else value


def _checksum(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, xxh3_128).hexdigest()
