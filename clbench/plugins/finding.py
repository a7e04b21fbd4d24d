"""Finds scenarios and strategies: built-in files, entry points, a user's own .py file or data, other libraries'.

A file is a plug-in: its stem is the name. A dotted name whose first part is another library is that library's strategy
(``clbench.integrations``). A person's data are a scenario as they are (``clbench.tasks.own_data``).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
from importlib.metadata import entry_points
from pathlib import Path

from clbench.errors import InputError, unknown
from clbench.files import expand
from clbench.plugins.foreign import foreign_summaries, is_foreign, module_of
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
    for point in entry_points(group=KINDS[kind]):
        spec = importlib.util.find_spec(point.module)
        if spec is not None and spec.origin is not None:
            found.setdefault(point.name, Path(spec.origin))
    return found


def is_own_data(kind: str, name: str) -> bool:
    """Whether ``name`` is that of a person's data, which are a scenario; a plug-in's name comes first."""
    return kind == "scenario" and not name.endswith(".py") and name not in available(kind) and is_data(name)


def find(kind: str, name: str) -> Path:
    """The file of a plug-in given by name or by path; of a person's data the file, the folder or the hub id.

    Raises:
        InputError: unknown name (with the nearest match), or a path that is not a .py file.
    """
    if is_own_data(kind, name):
        return Path(place_of(name))
    if name.endswith(".py") or "/" in name or "\\" in name:
        path = expand(name, f"{kind} file")
        allowed = "a name or the path of a .py file" + (DATA_TOO if kind == "scenario" else "")
        if path.suffix != ".py":
            raise InputError(f"{kind} file {name!r} is not a .py file; allowed: {allowed}")
        if not os.path.isfile(path):  # not path.is_file(), which raises for a name too long
            fault = "is no file" if os.path.lexists(path) else "does not exist"
            raise InputError(f"{kind} file {name!r} {fault}; allowed: {allowed}")
        return path.resolve()
    if kind == "strategy" and is_foreign(name):
        return Path(inspect.getfile(module_of(name)[0].build))
    names = available(kind)
    if name not in names:
        raise unknown(kind, name, [*names, *(foreign_summaries() if kind == "strategy" else ())])
    return names[name]
