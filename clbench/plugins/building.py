"""Imports a plug-in's file and constructs the thing itself, with arguments that are checked."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from clbench import presets
from clbench.errors import ClbenchError, InputError
from clbench.plugins.arguments import check_arguments
from clbench.plugins.description import parse_file, plugin_class
from clbench.plugins.finding import KINDS, find, is_own_data, is_preset
from clbench.plugins.foreign import is_foreign, module_of
from clbench.plugins.hashing import source_hash
from clbench.tasks import OwnData, data_scenario


def load(kind: str, name: str, arguments: Mapping[str, Any] | None = None) -> type[Any]:
    """Import the plug-in's file and return its class.

    Args:
        kind: "scenario" or "strategy".
        name: its name or path.
        arguments: of a scenario that is a person's data, which are read with them.
    """
    if is_preset(kind, name):
        return presets.preset_scenario(find(kind, name))
    if is_own_data(kind, name):
        return data_scenario(name, construct(OwnData, name, dict(arguments or {})).wanted)
    if kind == "strategy" and is_foreign(name):
        module, member = module_of(name)
        return typing.cast(type[Any], module.load(member))
    path = find(kind, name)
    class_name = plugin_class(parse_file(path), path).name
    return typing.cast(type[Any], getattr(_import_file(kind, path), class_name))


def load_function(name: str) -> Callable[..., Any]:
    """Import a .py file and return its function that is called like the file; for metrics.

    Raises:
        InputError: no such file, it cannot be imported, or has no such function.
    """
    path = find("metric", name)
    found = getattr(_import_module(f"clbench_user_{source_hash(path)[:12]}_{path.stem}", path), path.stem, None)
    if not inspect.isfunction(found):
        raise InputError(f"{path} defines no function {path.stem}(matrix); a metric's file has one of its own name")
    return found


def build(kind: str, name: str, arguments: dict[str, Any], *, label: str = "", **context: Any) -> Any:
    """Import a plug-in and construct it with ``arguments``, checked by name and type.

    Args:
        kind: "scenario" or "strategy".
        name: its name or path.
        arguments: the user's keywords.
        label: what error lines call it, ``name`` by default.
        context: keywords the engine gives (a scenario's ``seed`` and ``setting``); the user's win.

    Raises:
        InputError: an unknown keyword or a value of the wrong type, in one line.
    """
    if kind == "strategy" and is_foreign(name):
        module, member = module_of(name)
        return module.build(member, arguments)
    return construct(load(kind, name, arguments), label or name, arguments, **context)


def construct(cls: type[Any], label: str, arguments: dict[str, Any], **context: Any) -> Any:
    """A plug-in of the class ``cls``; otherwise as :func:`build`."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    keywords = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    check_arguments(label, parameters, _type_hints(cls, label), arguments, context)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if (unasked := [key for key in context if key not in keywords]) and not takes_any:
        raise InputError(f"{label}: its constructor must take {unasked[0]!r}; it takes: {', '.join(keywords)}")
    try:
        return cls(**{**context, **arguments})
    except ClbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{label} cannot be made: {type(error).__name__}: {error}") from error


def ask(plugin: Any, label: str, method: str) -> Any:
    """What ``plugin.method()`` gives, before a run is begun.

    Args:
        plugin: somebody's.
        label: what error lines call it.
        method: its name.

    Raises:
        InputError: as the method raises it; of whatever else it raises a line that says where.
    """
    try:
        return getattr(plugin, method)()
    except ClbenchError:
        raise
    except (Exception, SystemExit) as error:
        file = inspect.getsourcefile(type(plugin))
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        where = f" ({Path(file).name}, line {lines[-1]})" if file and lines else ""
        raise InputError(f"{label}: {method}() raised {type(error).__name__}: {error}{where}") from error


def _type_hints(cls: type[Any], label: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls.__init__)
    except Exception as error:  # whatever evaluating somebody's annotations raises
        raise InputError(f"{label}: its annotations cannot be read: {type(error).__name__}: {error}") from error


def _import_file(kind: str, path: Path) -> ModuleType:
    package = importlib.import_module(KINDS[kind])
    built_in = path.parent in {Path(folder).resolve() for folder in package.__path__}
    name = f"{KINDS[kind]}.{path.stem}" if built_in else f"clbench_user_{source_hash(path)[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    # Not earlier: what only lists plug-ins needs no torch.
    from clbench.models import survive_torchvision

    survive_torchvision()  # plug-ins may import what imports torchvision
    return importlib.import_module(name) if built_in else _import_module(name, path)


def _import_module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for the modules beside it; last, so that they hide no library
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a program that ends itself, given by mistake
        del sys.modules[name]
        raise InputError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
