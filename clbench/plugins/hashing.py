"""The hash of a plug-in: of its code, and of the code that it reaches.

Comments, docstrings and formatting are no part of it, so that a better docstring does not make finished runs another's.
What is reached: the toolkit's files, other built-in plug-ins, and the files in the plug-in's own folder.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from clbench.doors import door_names
from clbench.errors import InputError

TOOLKIT = "clbench.toolkit"
PLUGINS = ("clbench.strategies", "clbench.scenarios")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def source_hash(path: Path) -> str:
    """SHA-256 over the code of the file and of each file that it reaches, whatever they are called.

    Raises:
        InputError: a file is not readable Python.
    """
    first, *others = (code_hash(_read(file)) for file in reached_files(path))
    return hashlib.sha256(json.dumps([first, *sorted(others)]).encode()).hexdigest()


def reached_files(path: Path) -> list[Path]:
    """The plug-in's file, and after it each file that it reaches."""
    reached: dict[Path, None] = {}
    waiting = [path.resolve()]
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached[file] = None
            waiting += _imports(file)
    return list(reached)


@cache
def code_hash(source: str) -> str:
    """SHA-256 over what Python makes of ``source``, without docstrings; the same in every version of Python."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(json.dumps(_plain(tree)).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A syntax tree as lists: each node's type and its fields, those left out that are empty."""
    if isinstance(value, ast.AST):
        fields = {name: _plain(item) for name, item in ast.iter_fields(value)}
        return [type(value).__name__, {name: item for name, item in fields.items() if item not in (None, [])}]
    return [_plain(item) for item in value] if isinstance(value, list) else repr(value)


def _imports(path: Path) -> Iterator[Path]:
    """The files that ``path`` imports and that count."""
    for node in ast.walk(ast.parse(_read(path))):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                yield from _beside(path.parents[node.level - 1], module, [alias.name for alias in node.names])
            elif module == TOOLKIT:
                yield from (file for alias in node.names if (file := _toolkit_file(alias.name)))
            elif module.startswith(f"{TOOLKIT}."):
                yield _package_folder(TOOLKIT) / f"{module.rpartition('.')[2]}.py"
            elif module in PLUGINS:
                yield from (file for alias in node.names for file in _plugin_files(f"{module}.{alias.name}"))
            else:
                yield from _plugin_files(module) or _beside(path.parent, module, [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _plugin_files(alias.name) or _beside(path.parent, alias.name, [])


def _toolkit_file(name: str) -> Path | None:
    """The toolkit's file in which the toolkit's public ``name`` stands; None where it stands elsewhere in clbench."""
    folder = _package_folder(TOOLKIT)
    module, original = door_names(_read(folder / "__init__.py")).get(name, ("", ""))
    if module == TOOLKIT:
        return folder / f"{original}.py"
    return folder / f"{module.rpartition('.')[2]}.py" if module.startswith(f"{TOOLKIT}.") else None


def _plugin_files(module: str) -> list[Path]:
    """The file of ``clbench.strategies.NAME``."""
    package, _, name = module.rpartition(".")
    if package not in PLUGINS:
        return []
    files = [Path(folder) / f"{name}.py" for folder in importlib.import_module(package).__path__]
    return [file.resolve() for file in files if file.is_file()][:1]


def _beside(folder: Path, module: str, names: list[str]) -> list[Path]:
    """The files of ``module``, and of ``names`` in it, where they lie in ``folder``."""
    parts = module.split(".") if module else []
    place = folder.joinpath(*parts)
    candidates = [
        folder.joinpath(*parts[:depth], "__init__.py") for depth in range(0 if not parts else 1, len(parts) + 1)
    ]
    candidates.append(place.parent / f"{place.name}.py" if parts else place / "__init__.py")
    candidates += [place / f"{name}.py" for name in names]
    return list(dict.fromkeys(file.resolve() for file in candidates if file.is_file()))


def _package_folder(package: str) -> Path:
    return Path(str(importlib.import_module(package).__file__)).parent


def _read(path: Path) -> str:
    try:
        source = path.read_text(encoding="utf-8")
        ast.parse(source)
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} is not readable Python: {error}") from None
    return source
