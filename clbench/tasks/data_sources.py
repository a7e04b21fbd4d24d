"""Where a person's own data lie: a file, a folder or a hub id; each as tables. Imports nothing heavy by itself."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clbench.errors import InputError, unknown
from clbench.files import LARGEST_TABLE, expand, read_file
from clbench.tasks.columns import Table
from clbench.tasks.csv_tasks import SPLITS
from clbench.tasks.delimited import read_delimited
from clbench.tasks.hub import hub_id, hub_splits, loaded
from clbench.tasks.records import from_dataset, read_json, read_json_lines, read_parquet

if TYPE_CHECKING:
    import datasets

READERS: dict[str, Callable[[bytes, str], Table]] = {
    ".csv": read_delimited,
    ".tsv": partial(read_delimited, separator="\t"),
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".parquet": read_parquet,
}
HUB = "hub:"
# Files of one split that was written in parts: train-00000-of-00002.parquet.
PART = re.compile(r"-\d{5}-of-\d{5}$")


def is_data(name: str) -> bool:
    """Whether ``name`` is that of data: ``hub:...``, a file in a format that is read, or whatever is there."""
    there = os.path.exists(os.path.expanduser(name))
    return name.startswith(HUB) or Path(name).suffix.lower() in READERS or (there and not name.endswith(".py"))


def short_name(source: str) -> str:
    """What a run calls the data: the file's name without its suffix, the folder's name, the hub id's last part."""
    if source.startswith(HUB):
        return hub_id(source)[0].rpartition("/")[2]
    path = Path(place_of(source))
    return path.name if os.path.isdir(path) else path.stem  # not is_dir(), which raises for a name too long


def told_name(source: str) -> str:
    """The data for people, whatever folder they lie in."""
    return source if source.startswith(HUB) else Path(source).name


def place_of(source: str) -> str:
    """``source`` as it is found from any folder; a link keeps its own name, which says what format it leads to."""
    if source.startswith(HUB):
        return source
    path = expand(source, "data")
    return str(path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name)


def read_source(source: str) -> tuple[list[Table], list[str]]:
    """The tables of a file, a folder or a hub id, and what of it was left unread.

    Raises:
        InputError: it cannot be read, changes while it is, or is laid out in no way that says what its files are.
    """
    if source.startswith(HUB):
        return _named(_from_hub(source), source)
    path = expand(source, "data")
    if not os.path.isdir(path):
        return [_read_file(path)], []
    before = _state(path)
    if any((path / mark).is_file() for mark in ("dataset_dict.json", "dataset_info.json", "state.json")):
        found = _named(_from_disk(path), source)
    else:
        files = sorted((f for f in path.iterdir() if f.suffix.lower() in READERS and f.is_file()), key=_natural)
        files = [file for file in files if not file.name.startswith(".")]
        if not files:
            raise InputError(
                f"the folder {source} holds no data; allowed: files in {', '.join(READERS)}, or a data set"
            )
        names = [PART.sub("", file.stem) for file in files]
        found = _named([(name, _read_file(file)) for name, file in zip(names, files, strict=True)], source)
    if _state(path) != before:
        raise InputError(f"{source} changed while it was read; wait until it is written, and start again")
    return found


def _named(tables: Sequence[tuple[str, Table]], source: str) -> tuple[list[Table], list[str]]:
    """The tables with what their names say: splits where one is called train, otherwise tasks."""
    names = list(dict.fromkeys(name for name, _ in tables))
    whole = [name for name, table in tables if not PART.search(Path(table.name).stem)]
    if twice := [name for name in names if whole.count(name) > 1]:
        raise InputError(f"{source} has two files called {twice[0]}; allowed: one file a split or a task")
    splits = {name: SPLITS[name.casefold()] for name in names if name.casefold() in SPLITS}
    if "train" in splits.values() or len(splits) == len(names):
        if len(names) == 1:
            return [table for _, table in tables], []
        missing = [split for split in ("train", "test") if split not in splits.values()]
        if missing:
            raise InputError(
                f"{source} has {' and '.join(names)} but nothing called {missing[0]}; allowed: train, dev and test, "
                "train and test, or one table, from which the splits are drawn"
            )
        if len(set(splits.values())) < len(splits):
            raise InputError(f"{source} has two tables of one split: {', '.join(splits)}; allowed: one of each")
        unread = [f"{table.name} was left unread: {source} has splits" for name, table in tables if name not in splits]
        return [replace(table, split=splits[name]) for name, table in tables if name in splits], unread
    if len(names) == 1:
        return [table for _, table in tables], []
    return [replace(table, task=name) for name, table in tables], []


def _read_file(path: Path) -> Table:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise unknown(f"format of {path}:", path.suffix or path.name, READERS)
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"cannot read {path}: it is a pipe or a device; allowed: a file or a folder")
        before = _stamp(path)
        content = read_file(path, LARGEST_TABLE)
        if _stamp(path) != before or len(content) != before[0]:
            raise InputError(f"{path} changed while it was read; wait until it is written, and start again")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    return reader(content, path.name)


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(file): _stamp(file) for file in sorted(folder.rglob("*")) if file.is_file()}


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts task2 before task10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _from_disk(path: Path) -> list[tuple[str, Table]]:
    return _tables(loaded(str(path), lambda library: library.load_from_disk(str(path))), path.name, "save_to_disk")


def _from_hub(source: str) -> list[tuple[str, Table]]:
    return _tables(hub_splits(source), source, "datasets")


def _tables(data: datasets.Dataset | Mapping[str, datasets.Dataset], name: str, facts: str) -> list[tuple[str, Table]]:
    if not isinstance(data, Mapping):
        return [(name, from_dataset(data, name, facts))]
    return [(split, from_dataset(own, f"{name}/{split}", facts)) for split, own in data.items()]
