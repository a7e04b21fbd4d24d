"""Finds scenarios and strategies: built-in files, entry points, a user's own .py file by path, other libraries'.

A file is a plug-in: its stem is the name. A dotted name whose first part is another library is that library's strategy
(``clbench.integrations``).
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


def find(kind: str, name: str) -> Path:
    """The file of a plug-in given by name or by path.

    Raises:
        InputError: unknown name (with the nearest match), or a path that is not a .py file.
    """
    if name.endswith(".py") or "/" in name or "\\" in name:
        path = expand(name, f"{kind} file")
        if path.suffix != ".py":
            raise InputError(f"{kind} file {name!r} is not a .py file; allowed: a name or the path of a .py file")
        if not os.path.isfile(path):  # not path.is_file(), which raises for a name too long
            fault = "is no file" if os.path.lexists(path) else "does not exist"
            raise InputError(f"{kind} file {name!r} {fault}; allowed: a name or the path of a .py file")
        return path.resolve()
    if kind == "strategy" and is_foreign(name):
        return Path(inspect.getfile(module_of(name)[0].build))
    names = available(kind)
    if name not in names:
        raise unknown(kind, name, [*names, *(foreign_summaries() if kind == "strategy" else ())])
    return names[name]
