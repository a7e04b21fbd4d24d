"""Strategies of other libraries: ``avalanche.EWC`` is the strategy ``EWC`` of ``clbench.integrations.avalanche``."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

from clbench.doors import door_names

INTEGRATIONS = "clbench.integrations"


def libraries() -> dict[str, Path]:
    """Names of the libraries that bring strategies, and the ``__init__.py`` of each; its door gives ``build``."""
    folders = importlib.import_module(INTEGRATIONS).__path__
    paths = [path for folder in folders for path in sorted(Path(folder).glob("*/__init__.py"))]
    return {path.parent.name: path for path in paths if "build" in door_names(path.read_text("utf-8"))}


def foreign_summaries() -> dict[str, str]:
    """What ``list strategies`` says of each library, and an unknown name's error line offers."""
    docs = {name: ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "" for name, path in libraries().items()}
    return {f"{name}.NAME": doc.split("\n")[0] for name, doc in docs.items()}


def is_foreign(name: str) -> bool:
    """Whether ``name`` is that of another library's strategy."""
    library, _, member = name.partition(".")
    return member not in ("", "py") and "/" not in name and library in libraries()


def module_of(name: str) -> tuple[ModuleType, str]:
    """The package that knows the library of a foreign name, and the rest of the name."""
    library, _, member = name.partition(".")
    return importlib.import_module(f"{INTEGRATIONS}.{library}"), member
