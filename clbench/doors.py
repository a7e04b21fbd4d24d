"""The doors of the rooms: a package's public names, each imported when it is first used.

A package's ``__init__.py`` lists its names as imports under ``if TYPE_CHECKING:``, where type checkers, editors and
readers find them, and calls :func:`open_door`. So ``clbench list`` does not wait for torch.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def is_installed(package: str) -> bool:
    """Whether ``package`` can be imported; a mere folder of its name, such as /tmp/ray or ./wandb, is none."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def open_door(package: str, file: str) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """``__all__``, ``__getattr__`` and ``__dir__`` of a package, from its imports under ``if TYPE_CHECKING:``.

    Args:
        package: the package's ``__name__``.
        file: the path of its ``__init__.py``.
    """
    origins = door_names(Path(file).read_text(encoding="utf-8"))

    def get(name: str) -> Any:
        if name not in origins:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, original = origins[name]
        owner = importlib.import_module(module)
        if module == package or not hasattr(owner, original):  # one of its files, or of another's
            found: Any = importlib.import_module(f"{module}.{original}")
        else:
            found = getattr(owner, original)
        setattr(sys.modules[package], name, found)
        return found

    return sorted(origins), get, lambda: sorted({*vars(sys.modules[package]), *origins})


@cache
def door_names(source: str) -> dict[str, tuple[str, str]]:
    """The names that a package's ``__init__.py`` gives: for each the module that it comes from and its name there."""
    return {
        alias.asname or alias.name: (str(node.module), alias.name)
        for block in ast.parse(source).body
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
