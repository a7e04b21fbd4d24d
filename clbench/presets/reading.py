"""What a preset's file says, checked: which data of the hub are tasks, with which columns, in which orders.

The keys of a file are those of :class:`Preset` and, for all tasks or under ``tasks`` for one, of :class:`Source`.
Imports nothing heavy: ``clbench list`` reads every preset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from clbench.errors import InputError, unknown
from clbench.files import read_yaml
from clbench.presets.preset import Preset, Source

SPLITS = ("train", "dev", "test")
SETTINGS = ("task", "domain", "class")
COLUMNS = {
    "text": ("text", "label"),
    "image": ("image", "label"),
    "token": ("tokens", "tags"),
    "generation": ("prompt", "answer"),
}
SEVERAL = ("text", "prompt")  # columns that may be made of several


def available_presets() -> dict[str, Path]:
    """The files of the built-in presets, by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def read_preset(path: Path) -> Preset:
    """The preset in a file.

    Raises:
        InputError: the file cannot be read or says what no preset can; names the first fault.
    """
    told = read_yaml(path, "preset")
    where = f"preset {path.name!r}"
    own, shared = [field.name for field in fields(Preset)][1:], [field.name for field in fields(Source)]
    told = _mapping(told, where, [*own, *shared])
    for needed in ("title", "kind"):
        if not isinstance(told.get(needed), str) or not told[needed].strip():
            raise InputError(f"{where} has no {needed}; allowed: a text")
    kind = told["kind"]
    if kind not in COLUMNS:
        raise unknown(f"kind in {where}:", kind, COLUMNS)
    per_task = _number(told.get("labels_per_task", 0), f"{where}: labels_per_task", 0)
    common = {key: told[key] for key in shared if key in told}
    listed = _mapping(told.get("tasks", {}), f"{where}: tasks")
    if bool(per_task) == bool(listed):
        raise InputError(f"{where} needs tasks or labels_per_task, and not both")
    tasks = {"": common} if per_task else {name: {**common, **_mapping(own, where)} for name, own in listed.items()}
    sources = {name: _source(own, kind, f"{where}, task {name!r}" if name else where) for name, own in tasks.items()}
    return Preset(
        path.stem,
        " ".join(told["title"].split()),
        _texts(told.get("papers", ()), f"{where}: papers"),
        " ".join(str(told.get("note", "")).split()),
        kind,
        _settings(told.get("settings", ["task"]), where),
        _mapping(told.get("defaults", {}), f"{where}: defaults"),
        sources,
        per_task,
        _orders(told.get("orders", {}), sources, where),
        _numbers(told.get("per_label", {}), f"{where}: per_label"),
        _numbers(told.get("most", {}), f"{where}: most"),
        _share(told.get("dev", 0.1), f"{where}: dev"),
        _share(told.get("test", 0.2), f"{where}: test"),
        _number(told.get("size", 32), f"{where}: size", 1),
    )


def _source(told: Mapping[str, Any], kind: str, where: str) -> Source:
    given = _mapping(told, where, [field.name for field in fields(Source)])
    if bool(given.get("hub")) == bool(given.get("files")):
        raise InputError(f"{where} needs hub (OWNER/NAME) or files, and not both")
    columns = _mapping(given.get("columns", {}), f"{where}: columns", COLUMNS[kind])
    named = {name: _texts(columns.get(name, name), f"{where}: columns") for name in COLUMNS[kind]}
    for name, several in named.items():
        if len(several) != 1 and name not in SEVERAL:
            raise InputError(f"{where}: {name} is made of {len(several)} columns; allowed: one")
    files = _mapping(given.get("files", {}), f"{where}: files", SPLITS)
    splits = _mapping(given.get("splits", {"train": "train", "test": "test"}), f"{where}: splits", SPLITS)
    if "train" not in splits or (files and "train" not in files):
        raise InputError(f"{where} names no data to train on; allowed: splits: {{train: ...}}")
    return Source(
        str(given.get("hub", "")),
        {split: str(file) for split, file in files.items()},
        str(given.get("revision", "")),
        named,
        {split: split for split in files} if files else {split: str(own) for split, own in splits.items()},
        _texts(given.get("labels", ()), f"{where}: labels"),
        _texts(given.get("leave_out", ()), f"{where}: leave_out"),
        _texts(given.get("entities", ()), f"{where}: entities"),
        str(given.get("measure", "")),
    )


def _settings(told: object, where: str) -> tuple[str, ...]:
    settings = _texts(told, f"{where}: settings")
    for setting in settings:
        if setting not in SETTINGS:
            raise unknown(f"setting in {where}:", setting, SETTINGS)
    if not settings:
        raise InputError(f"{where} has no settings; allowed: {', '.join(SETTINGS)}")
    return settings


def _orders(told: object, tasks: Mapping[str, Source], where: str) -> dict[str, tuple[str, ...]]:
    orders = {}
    for name, own in _mapping(told, f"{where}: orders").items():
        orders[name] = _texts(own, f"{where}: order {name}")
        for task in orders[name]:
            if task not in tasks:
                raise unknown(f"task in order {name} of {where}:", task, tasks)
        if len(set(orders[name])) < len(orders[name]):
            raise InputError(f"{where}: order {name} names a task twice; allowed: once each")
    return orders


def _mapping(told: object, where: str, allowed: Sequence[str] | None = None) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise InputError(f"{where} holds {type(told).__name__}; allowed: a mapping")
    for key in told:
        if allowed is not None and key not in allowed:
            raise unknown(f"key in {where}:", str(key), allowed)
    return {str(key): value for key, value in told.items()}


def _texts(told: object, where: str) -> tuple[str, ...]:
    """A text or a list of texts and numbers."""
    parts = [told] if isinstance(told, str) else told
    # YAML reads a bare yes or no as a truth value, whose spelling would be lost.
    if not isinstance(parts, list | tuple) or not all(type(part) in (str, int) for part in parts):
        raise InputError(f"{where} holds {told!r}; allowed: texts, in quotes where YAML reads yes, no, on or off")
    return tuple(str(part) for part in parts)


def _numbers(told: object, where: str) -> dict[str, int]:
    return {split: _number(own, f"{where}: {split}", 1) for split, own in _mapping(told, where, SPLITS).items()}


def _number(told: object, where: str, least: int) -> int:
    if type(told) is not int or told < least:
        raise InputError(f"{where}: {told!r} is not allowed; allowed: a whole number of {least} or more")
    return told


def _share(told: object, where: str) -> float:
    if not isinstance(told, float) or not 0 < told < 1:
        raise InputError(f"{where}: {told!r} is not allowed; allowed: a share above 0 and below 1")
    return told
