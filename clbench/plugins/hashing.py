"""The hash of a plug-in: of its code, and of the code that it reaches.

Comments, docstrings, formatting, ``search_spaces``, ``idle_in_first_task`` and ``model_arguments`` are no part of it,
so that a better docstring does not make finished runs another's.
What is reached: the toolkit's files, other built-in plug-ins, and the files in the plug-in's own folder. What is
imported by a name that only the running program knows (``importlib.import_module(name)``) is not seen.
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
from clbench.files import read_file

TOOLKIT = "clbench.toolkit"
PLUGINS = ("clbench.strategies", "clbench.scenarios")
# What ``tune`` tries, what runs of one command may share, and which arguments' files have hashes of their own.
CHANGES_NO_RUN = ("search_spaces", "idle_in_first_task", "model_arguments")


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
    return hashlib.sha256(json.dumps(_plain(ast.parse(source))).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A syntax tree as lists: each node's type and its fields, those left out that are empty or how a text is spelt."""
    if isinstance(value, ast.JoinedStr):
        return ["JoinedStr", _pieces(value.values)]
    if isinstance(value, ast.AST):
        fields = ((name, item) for name, item in ast.iter_fields(value) if name != "kind")
        return [type(value).__name__, {name: _plain(item) for name, item in fields if item is not None and item != []}]
    if isinstance(value, list):
        return [_plain(item) for item in value if not _is_text(item) and not _changes_no_run(item)]
    return ascii(value)  # what repr prints of a text depends on the characters that this Python knows


def _pieces(values: list[ast.expr]) -> list[Any]:
    """What an f-string is joined from; Python 3.12 puts empty texts between, and cuts others in two."""
    pieces: list[Any] = []
    for value in values:
        if not isinstance(value, ast.Constant):
            pieces.append(_plain(value))
        elif pieces and isinstance(pieces[-1], str):
            pieces[-1] += str(value.value)
        elif value.value:
            pieces.append(str(value.value))
    return pieces


def _is_text(node: Any) -> bool:
    """Whether a statement is a text alone: the docstring of a module, a class, a function or an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _changes_no_run(node: Any) -> bool:
    """Whether a statement gives a class something that no run depends on."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id in CHANGES_NO_RUN for target in targets)


def _imports(path: Path) -> Iterator[Path]:
    """The files that ``path`` imports and that count."""
    for node in _import_statements(_read(path)):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                yield from _beside(path.parents[node.level - 1], module, [alias.name for alias in node.names])
            elif module == TOOLKIT or module.startswith(f"{TOOLKIT}."):
                yield from (file for alias in node.names for file in _toolkit_files(module, alias.name))
            elif module == "clbench":
                yield from (file for alias in node.names if alias.name == "toolkit" for file in _toolkit_files(TOOLKIT))
            elif module in PLUGINS:
                yield from (file for alias in node.names for file in _plugin_files(f"{module}.{alias.name}"))
            else:
                yield from _plugin_files(module) or _beside(path.parent, module, [alias.name for alias in node.names])
        else:
            for alias in node.names:
                if f"{alias.name}.".startswith(f"{TOOLKIT}."):
                    yield from _toolkit_files(alias.name)
                else:
                    yield from _plugin_files(alias.name) or _beside(path.parent, alias.name, [])


@cache
def _import_statements(source: str) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """All of ``source``; SyntaxError or ValueError where it is not Python."""
    return tuple(node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom)))


def _toolkit_files(module: str, name: str = "*") -> list[Path]:
    """The toolkit's files that ``name`` of the toolkit, or of a module of it, stands in; all where any may be meant."""
    folder = _package_folder(TOOLKIT)
    if module == TOOLKIT:
        names = door_names(_read(folder / "__init__.py"))
        if name not in names:
            return sorted(folder.glob("[!_]*.py")) if name == "*" else []
        origin, original = names[name]
        module = f"{origin}.{original}" if origin == TOOLKIT else origin  # one of its own files
    return [folder / f"{module.split('.')[2]}.py"] if module.startswith(f"{TOOLKIT}.") else []


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
        source = read_file(path).decode("utf-8")
        _import_statements(source)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is not readable Python: {error}") from None
    return source
