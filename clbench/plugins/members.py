"""Which plug-in a word means, and the strategies of an expression: for a run's plan, and for those who make none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clbench.errors import InputError
from clbench.models import model_identity
from clbench.plugins.building import build, construct
from clbench.plugins.expression import Component, canonical, parse_expression
from clbench.plugins.finding import available, find, is_own_data, is_preset
from clbench.plugins.foreign import is_foreign, module_of
from clbench.plugins.hashing import source_hash
from clbench.plugins.objects import class_hash
from clbench.presets import available_presets
from clbench.strategy import Strategy
from clbench.tasks import short_name

# In place of a plug-in's hash: what tells data from others is their contents, whatever file they stand in.
OWN_DATA, PRESET = "own data", "preset"


def locate(
    kind: str, name: str, files: dict[str, str], hashes: dict[str, str], objects: Mapping[str, type[Any]]
) -> tuple[str, str]:
    """The plug-in's short name and what finds it again.

    A plug-in given by path goes by its stem, or its file name where a built-in has that name.

    Args:
        kind: "scenario" or "strategy".
        name: its name or path.
        files: where those lie that are not built in, by "KIND:NAME"; the one that is found is noted there.
        hashes: of their code, by "KIND:NAME"; noted, too.
        objects: classes that are no files, by "KIND:NAME"; they hide plug-ins of that name.

    Raises:
        InputError: there is none.
    """
    if (key := f"{kind}:{name}") in objects:
        hashes[key] = class_hash(objects[key])
        return name, name
    if kind == "strategy" and is_foreign(name):
        hashes[f"{kind}:{name}"] = module_of(name)[0].source_hash()
        return name, name
    path = find(kind, files.get(f"{kind}:{name}", name))
    built_in = available(kind)
    if is_preset(kind, str(path)):
        known = available_presets().get(path.stem) == path
        short = path.stem if known or path.stem not in {*built_in, *available_presets()} else path.name
        if not known:
            files[f"{kind}:{short}"] = str(path)
        hashes[f"{kind}:{short}"] = PRESET
        return short, str(path)
    if is_own_data(kind, str(path)):
        short = short_name(str(path))
        short = f"{short} (data)" if short in built_in else short
        files[f"{kind}:{short}"], hashes[f"{kind}:{short}"] = str(path), OWN_DATA
        return short, str(path)
    short = name if built_in.get(name) == path else path.name if path.stem in built_in else path.stem
    if built_in.get(short) != path:
        files[f"{kind}:{short}"] = str(path)
    hashes[f"{kind}:{short}"] = source_hash(path)
    return short, str(path)


def build_strategies(
    expression: str, files: dict[str, str], hashes: dict[str, str], objects: Mapping[str, type[Any]]
) -> tuple[str, list[tuple[str, Strategy]]]:
    """The expression in its one spelling, and its strategies by their short names, in the order written.

    ``files``, ``hashes`` and ``objects`` are those of :func:`locate`.

    Raises:
        InputError: the expression cannot be read, or a strategy is unknown or cannot be made.
    """
    components, members = [], []
    for component in parse_expression(expression):
        short, source = locate("strategy", component.name, files, hashes, objects)
        components.append(Component(short, component.arguments))
        strategy = _build(short, source, component.arguments, objects.get(f"strategy:{short}"))
        hashes |= _hashes_of_models(short, strategy)
        members.append((short, strategy))
    return canonical(tuple(components)), members


def _hashes_of_models(name: str, strategy: Strategy) -> dict[str, str]:
    """Of the models that the strategy's arguments name, by "strategy:NAME:ARGUMENT", but for those made on the spot."""
    given = {argument: getattr(strategy, argument) for argument in strategy.model_arguments}
    found = {argument: model_identity(model) for argument, model in given.items()}
    return {f"strategy:{name}:{argument}": sha for argument, sha in found.items() if sha != given[argument]}


def _build(name: str, source: str, arguments: dict[str, Any], given: type[Any] | None) -> Strategy:
    if given is not None:
        strategy = construct(given, name, arguments)
    else:
        strategy = build("strategy", source, arguments, label=name)
    if not isinstance(strategy, Strategy):
        found = type(strategy).__name__
        raise InputError(f"{Path(source).name} defines {found}, which is no clbench.strategy.Strategy")
    return strategy
