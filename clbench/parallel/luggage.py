"""What travels to another machine and back, as the bytes of a tar file: our code, plug-ins' files, run folders."""

from __future__ import annotations

import importlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import datasets

import clbench
from clbench.config import RunConfig
from clbench.errors import RunError
from clbench.files import remove_path, replace_folder
from clbench.plugins import is_own_data, is_preset, reached_files
from clbench.results import RunFolder
from clbench.scenario import Task

PLUGINS = ("scenarios", "strategies")


def pack(files: Mapping[str, Path]) -> bytes:
    """A tar file of ``files``, by the paths that they have in it; what has gone meanwhile is left out."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, path in files.items():
            try:
                tar.add(path, name, recursive=False)
            except FileNotFoundError:
                continue
    return content.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Put what :func:`pack` took into ``folder``, and nothing outside of it.

    Raises:
        RunError: the disk is full, the folder cannot be written, or not all of it arrived.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise RunError(f"what was sent for {folder} did not arrive whole: {error}") from error
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror}") from error


def pack_code() -> bytes:
    """The package clbench as it is installed from a wheel: the built-in plug-ins lie in it, wherever they lie here.

    Compiled files go along, so that they need not be made anew for each run.
    """
    root = Path(clbench.__file__).parent
    files = {f"clbench/{path.relative_to(root).as_posix()}": path for path in sorted(root.rglob("*")) if path.is_file()}
    for room in PLUGINS:
        for folder in importlib.import_module(f"clbench.{room}").__path__:
            files |= {f"clbench/{room}/{path.name}": path for path in sorted(Path(folder).glob("*.py"))}
    return pack(files)


def plugin_files(config: RunConfig) -> dict[str, Path]:
    """The files of the plug-ins of ``config`` that are not built in, and those that they reach, by absolute path."""
    built_in = [Path(clbench.__file__).resolve().parent]
    built_in += [
        Path(folder).resolve() for room in PLUGINS for folder in importlib.import_module(f"clbench.{room}").__path__
    ]
    found = {}
    for key, name in config.plugin_files.items():
        if _is_code(key, name):
            for path in reached_files(Path(name)):
                if not any(path.is_relative_to(folder) for folder in built_in):
                    found[inside(path)] = path
    return found


def unpacked_plugins(config: RunConfig, folder: Path) -> dict[str, str]:
    """``config.plugin_files`` with the places where code lies once :func:`plugin_files` are unpacked in ``folder``."""
    files = config.plugin_files
    return {key: str(folder / inside(Path(name))) if _is_code(key, name) else name for key, name in files.items()}


def inside(path: Path) -> str:
    """An absolute path as one inside a folder."""
    return PurePosixPath(*path.resolve().parts[1:]).as_posix()


def _is_code(key: str, name: str) -> bool:
    kind = key.partition(":")[0]
    return not (is_own_data(kind, name) or is_preset(kind, name))


def portable(task: Task) -> Task:
    """``task`` with rows that are in memory, files that they name among them: nothing of it is read from this disk."""
    splits = {split: getattr(task, split) for split in ("train", "dev", "test")}
    return replace(task, **{split: _in_memory(rows) for split, rows in splits.items() if _on_disk(rows)})


def _on_disk(rows: datasets.Dataset) -> bool:
    return bool(rows.cache_files) or any(not isinstance(each, datasets.Value) for each in rows.features.values())


def _in_memory(rows: datasets.Dataset) -> datasets.Dataset:
    table = datasets.table.embed_table_storage(rows.with_format("arrow")[:])
    return datasets.Dataset(datasets.table.InMemoryTable(table), info=rows.info, split=rows.split)


def pack_folder(folder: Path) -> bytes:
    """A run's folder, whatever is in it but its locks, what is half written, and links, such as wandb's to its logs."""
    return pack({path.relative_to(folder).as_posix(): path for path in _kept(folder)})


def _kept(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not path.is_symlink() and not hidden:
            yield path


def bring_home(content: bytes, folder: RunFolder, output_dir: Path) -> None:
    """Put a run's files that were made elsewhere in the place of ``folder``, all or none.

    Raises:
        RunError: they cannot be written; what was there stays.
    """
    new = folder.path.with_name(f"{folder.path.name}.new")
    remove_path(new)
    try:
        unpack(content, new)
        arrived = RunFolder(new)
        if (new / "config.json").exists():
            arrived.write_config({**arrived.read_config(), "output_dir": str(output_dir)})
        replace_folder(new, folder.path)
    except OSError as error:
        raise RunError(f"{folder.path}: cannot be written: {error.strerror}") from error
    finally:
        remove_path(new)
