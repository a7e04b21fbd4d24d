"""Finds scenarios and strategies: built-in files, entry points, a user's own .py file or data, other libraries'.

A file is a plug-in: its stem is the name. A dotted name whose first part is another library is that library's strategy
(``clbench.integrations``). A person's data are a scenario as they are (``clbench.tasks.own_data``), and so is the file
of a preset (``clbench.presets``).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from clbench.errors import InputError, nearest, unknown
from clbench.files import expand
from clbench.plugins.foreign import foreign_summaries, is_foreign, module_of
from clbench.presets import available_presets
from clbench.tasks import is_data, place_of

DATA_TOO = ", of a data file (.csv, .tsv, .jsonl, .json, .parquet) or folder, or hub:OWNER/NAME"
KINDS = {"scenario": "clbench.scenarios", "strategy": "clbench.strategies"}


def available(kind: str) -> dict[str, Path]:
    """Names and files of every installed plug-in of ``kind`` ("scenario" or "strategy")."""
    package = importlib.import_module(KINDS[kind])
    found: dict[str, Path] = {}
    for folder in package.__path__:
        for path in sorted(Path(folder).glob("*.py")):
            if not path.stem.startswith("_"):
                found.setdefault(path.stem, path)
    for name, module in _entry_points(KINDS[kind], _package_places()):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            found.setdefault(name, Path(spec.origin))
    return found


def _package_places() -> tuple[tuple[str, int], ...]:
    """Where Python looks for packages, each with the time of its last change."""
    return tuple((place, os.stat(place).st_mtime_ns) for place in sys.path if os.path.isdir(place))


@cache
def _entry_points(group: str, _places: tuple[tuple[str, int], ...]) -> tuple[tuple[str, str], ...]:
    """Names and modules of the installed packages' plug-ins; reading them takes long, so once for the same places."""
    return tuple((point.name, point.module) for point in entry_points(group=group))


def is_preset(kind: str, name: str) -> bool:
    """Whether ``name`` is that of a preset, or of a preset's file; a plug-in's name comes first."""
    if kind != "scenario" or name in available(kind):
        return False
    return name in available_presets() or Path(name).suffix.lower() in (".yaml", ".yml")


def is_own_data(kind: str, name: str) -> bool:
    """Whether ``name`` is that of a person's data, which are a scenario; plug-ins' and presets' names come first."""
    if kind != "scenario" or name.endswith(".py") or name in available(kind) or is_preset(kind, name):
        return False
    return is_data(name)


def find(kind: str, name: str) -> Path:
    """The file of a plug-in given by name or by path; of a person's data the file, the folder or the hub id.

    Raises:
        InputError: unknown name (with the nearest match), or a path that is not a .py file.
    """
    if is_preset(kind, name):
        return available_presets().get(name) or expand(name, "preset").resolve()
    if is_own_data(kind, name):
        return Path(place_of(name))
    if name.endswith(".py") or "/" in name or "\\" in name:
        path = expand(name, f"{kind} file")
        fault = None
        if not os.path.isfile(path):  # not path.is_file(), which raises for a name too long
            fault = "is no file" if os.path.lexists(path) else "does not exist"
        elif path.suffix != ".py":
            fault = "is not a .py file"
        if fault:
            raise InputError(f"{kind} file {name!r} {fault}; allowed: {_allowed(kind)}")
        return path.resolve()
    if kind == "strategy" and is_foreign(name):
        return Path(inspect.getfile(module_of(name)[0].build))
    names = available(kind)
    if name not in names:
        if kind == "scenario":
            refuse_missing_file(name)
        others = foreign_summaries() if kind == "strategy" else available_presets()
        raise unknown(kind, name, [*names, *others])
    return names[name]


def refuse_missing_file(name: str) -> None:
    """Tell of the nearest file in place of all names where ``name`` ends as a file's does, such as 'tickets.cvs'.

    Raises:
        InputError: it ends so; it is known that there is no such file.
    """
    if Path(name).suffix[1:].isalpha():
        close = nearest(name, os.listdir())
        hint = f" did you mean {close!r}?" if close else ""
        raise InputError(f"there is no file {name!r};{hint} allowed: {_allowed('scenario')}")


def _allowed(kind: str) -> str:
    return "a name or the path of a .py file" + ("" if kind == "strategy" else DATA_TOO)
