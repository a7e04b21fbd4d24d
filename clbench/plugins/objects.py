"""Strategies and scenarios that are given as Python objects instead of names, as in a notebook."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
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

    Of a class in a notebook: its methods and attributes, the functions, classes and plain values of the notebook that
    they use, and the files beside it that they import.

    Raises:
        InputError: Python knows the source of neither.
    """
    if file := _file_of(cls):
        return hashlib.sha256(f"{cls.__qualname__} {source_hash(file)}".encode()).hexdigest()
    parts: dict[str, str] = {}
    waiting: list[Any] = [cls]
    while waiting:
        thing = waiting.pop()
        if (name := thing.__qualname__) in parts:
            continue
        parts[name] = _function_hash(thing) if inspect.isfunction(thing) else "class"
        for key, value in _used_by(thing):
            own = getattr(value, "__module__", None) == cls.__module__ and _file_of(value) is None
            if own and (inspect.isfunction(value) or inspect.isclass(value)):
                parts[f"{name} {key}"] = value.__qualname__
                waiting.append(value)
            elif (file := _file_of(value)) and file.is_relative_to(Path.cwd()) and "site-packages" not in file.parts:
                parts[f"{name} {key}"] = source_hash(file)
            elif (spelling := _spelling(value)) is not None:
                parts[f"{name} {key}"] = spelling
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _file_of(thing: object) -> Path | None:
    """The .py file of a module, or in which a class or function stands; None in a notebook or at a prompt."""
    module = thing if inspect.ismodule(thing) else sys.modules.get(getattr(thing, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    return Path(file) if file and Path(file).suffix == ".py" else None


def _function_hash(function: FunctionType) -> str:
    try:
        source = textwrap.dedent(inspect.getsource(function))
        return code_hash(source)
    except (OSError, TypeError):
        problem = f"the source of {function.__qualname__} is not known to Python; keep it in a .py file"
    except SyntaxError:  # a lambda in the middle of an expression
        problem = f"{function.__qualname__} cannot be told from its source; write it as a function of its own"
    raise InputError(problem)


def _used_by(thing: Any) -> Iterator[tuple[str, Any]]:
    """What a class consists of, or what a function takes from around it, by name."""
    if inspect.isfunction(thing):
        code, scope = thing.__code__, thing.__globals__
        yield from ((name, scope[name]) for name in _names(code) if name in scope)
        cells = zip(code.co_freevars, thing.__closure__ or (), strict=True)
        yield from ((name, cell.cell_contents) for name, cell in cells if name != "__class__")
        yield from ((f"default {number}", value) for number, value in enumerate(thing.__defaults__ or ()))
        yield from (thing.__kwdefaults__ or {}).items()
        return
    yield from ((f"base {number}", base) for number, base in enumerate(thing.__bases__))
    for name, value in vars(thing).items():
        if isinstance(value, property):
            yield from ((f"{name} {part}", getattr(value, part)) for part in ("fget", "fset", "fdel"))
        elif isinstance(value, staticmethod | classmethod):
            yield name, value.__func__
        elif inspect.isfunction(value) or not name.startswith("__"):
            yield name, value


def _names(code: CodeType) -> Iterator[str]:
    """The names that a function and those inside it look up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _spelling(value: object) -> str | None:
    """A plain value (numbers, texts, and collections of them) as it would be written; None for any other."""
    try:
        return ascii(value) if ast.literal_eval(repr(value)) == value else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
