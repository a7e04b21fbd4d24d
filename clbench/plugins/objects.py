"""Strategies and scenarios that are given as Python objects instead of names, as in a notebook."""

from __future__ import annotations

import hashlib
import inspect
import textwrap
from pathlib import Path
from typing import Any

from clbench.errors import InputError
from clbench.plugins.expression import Component, literal
from clbench.plugins.hashing import code_hash, source_hash


def component_of(plugin: object) -> tuple[Component, type[Any]]:
    """The name and arguments of a plug-in given as a class or an object, and its class.

    An object is made anew for each run, from the values that it keeps under the names of its constructor's arguments.

    Raises:
        InputError: an argument is kept nowhere, or is no literal, so that the run could not be told from another.
    """
    if inspect.isclass(plugin):
        return Component(plugin.__name__), plugin
    cls = type(plugin)
    arguments = {}
    for name, parameter in list(inspect.signature(cls.__init__).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name in ("seed", "setting"):
            continue
        if not hasattr(plugin, name):
            raise InputError(
                f"the object {cls.__name__} does not keep its argument {name!r} as an attribute of that name; give the "
                "class, or keep it"
            )
        value = getattr(plugin, name)
        if parameter.default is parameter.empty or value != parameter.default:
            arguments[name] = literal(repr(value), f"{name} of the object {cls.__name__}")
    return Component(cls.__name__, arguments), cls


def class_hash(cls: type[Any]) -> str:
    """SHA-256 over the code of a plug-in's class: of its file and what that reaches, or of the class in a notebook.

    Raises:
        InputError: Python knows the source of neither.
    """
    file = inspect.getmodule(cls) and getattr(inspect.getmodule(cls), "__file__", None)
    if file and Path(file).suffix == ".py":
        return hashlib.sha256(f"{cls.__qualname__} {source_hash(Path(file))}".encode()).hexdigest()
    try:
        return code_hash(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        functions = [value for value in vars(cls).values() if inspect.isfunction(value)]
    try:
        return code_hash("\n".join(textwrap.dedent(inspect.getsource(function)) for function in functions))
    except (OSError, TypeError):
        raise InputError(f"the source of {cls.__name__} is not known to Python; keep it in a .py file") from None
