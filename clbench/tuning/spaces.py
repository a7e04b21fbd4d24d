"""What is tried for each value: learning rates for all, arguments from the strategies' files, or what --search says."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clbench.config import RunConfig
from clbench.errors import InputError, unknown
from clbench.plugins import Component, canonical, literal, load, parse_expression
from clbench.strategy import Choices, Range, Space

# Learning rates are tried so many times smaller and larger than the scenario's own.
FACTOR = 10.0
# Settings of training that --search may name; the first two are always tuned.
LEARNING_RATES = ("lr", "head_lr")
SETTINGS = (
    *(*LEARNING_RATES, "epochs", "task_steps", "batch_size", "warmup", "schedule", "weight_decay", "dropout"),
    *("max_grad_norm", "optimizer", "momentum", "optimizer_state"),
)
SPELLING = "LOW:HIGH, LOW:HIGH:log or values with commas, such as 1e-5:1e-3:log or 0.05,0.1"

Spaces = Mapping[str, Space]


def read_search(texts: Sequence[str]) -> dict[str, Space]:
    """The spaces of ``--search K=SPACE``, by K.

    Raises:
        InputError: one cannot be read.
    """
    found = {}
    for text in texts:
        key, equals, space = text.partition("=")
        if not equals or not key.strip() or not space.strip():
            raise InputError(f"--search {text!r} cannot be read; write K=SPACE, SPACE being {SPELLING}")
        found[key.strip()] = _read_space(space.strip(), text)
    return found


def _read_space(text: str, whole: str) -> Space:
    first, *ends = text.split(":")
    if not ends or text[0] in "'\"":
        return Choices(tuple(_value(part.strip()) for part in text.split(",")))
    low, high = _value(first), _value(ends[0])
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or ends[1:] not in ([], ["log"]):
        raise InputError(f"--search {whole!r} cannot be read; allowed: {SPELLING}")
    return Range(low, high, log=bool(ends[1:]))


def _value(text: str) -> Any:
    try:
        value = literal(text, "--search")
    except InputError:
        return text
    return text if isinstance(value, list | tuple | dict) else value


def spaces_of(config: RunConfig, expression: str, search: Spaces) -> dict[str, Space]:
    """The space of each value that is tuned for a strategy: learning rates, and arguments as STRATEGY.ARGUMENT.

    An argument that the expression gives stays as it is given.

    Args:
        config: of a run without tuning; its learning rates lie in the middle.
        expression: the strategy.
        search: what goes before: by a setting, by ARGUMENT of any strategy, or by STRATEGY.ARGUMENT.

    Raises:
        InputError: a strategy's file names an argument that it does not take, or epochs that count for nothing.
    """
    found: dict[str, Space] = {
        name: Range(middle / FACTOR, middle * FACTOR, log=True)
        for name, middle in ((name, getattr(config, name)) for name in LEARNING_RATES)
    }
    found |= {name: space for name, space in search.items() if name in SETTINGS}
    if "epochs" in found and ("task_steps" in found or config.task_steps is not None):
        raise InputError(
            "--search epochs has no effect beside task_steps, which say how long a task is; leave one away"
        )
    for component in parse_expression(expression):
        own = short_name(component)
        arguments = arguments_of(component)
        spaces = dict(getattr(load("strategy", component.name), "search_spaces", {}))
        for name in spaces:
            if name not in arguments:
                raise unknown(f"argument in search_spaces of {own}:", name, arguments)
        spaces |= {name: search[name] for name in arguments if name in search}
        spaces |= {name: search[f"{own}.{name}"] for name in arguments if f"{own}.{name}" in search}
        found |= {f"{own}.{name}": space for name, space in spaces.items() if name not in component.arguments}
    return found


def check_search(search: Spaces, expressions: Sequence[str]) -> None:
    """Refuse a --search that names neither a setting nor an argument of one of the strategies."""
    known = list(SETTINGS)
    for expression in expressions:
        for component in parse_expression(expression):
            for name in arguments_of(component):
                known += [f"{short_name(component)}.{name}", name]
    for name in search:
        if name not in known:
            raise unknown("--search of", name, dict.fromkeys(known))


def arguments_of(component: Component) -> dict[str, Any]:
    """The arguments of a strategy and their defaults."""
    parameters = list(inspect.signature(load("strategy", component.name).__init__).parameters.values())[1:]
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: p.default for p in named}


def usual_values(config: RunConfig, expression: str, spaces: Spaces) -> dict[str, Any]:
    """What a run without tuning takes, as far as it lies in the spaces: the first trial."""
    usual = {name: getattr(config, name) for name in SETTINGS}
    for component in parse_expression(expression):
        usual |= {f"{short_name(component)}.{name}": value for name, value in arguments_of(component).items()}
    found = {name: _as_float(usual[name], space) for name, space in spaces.items()}
    return {name: value for name, value in found.items() if spaces[name].holds(value)}


def _as_float(value: Any, space: Space) -> Any:
    """Whole numbers where the space has others, too, as in ``strength: float = 1``."""
    return float(value) if isinstance(space, Range) and not space.whole and type(value) is int else value


def with_values(expression: str, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The expression with the values that are its arguments, and those that are settings of the run.

    Raises:
        InputError: a value is neither.
    """
    settings = {name: value for name, value in values.items() if name in SETTINGS}
    prefixes = tuple(f"{short_name(component)}." for component in parse_expression(expression))
    for name in values:
        if name not in settings and not name.startswith(prefixes):
            allowed = [*SETTINGS, *(f"{prefix}ARGUMENT" for prefix in prefixes)]
            raise unknown(f"value for {expression!r}:", name, allowed)
    components = []
    for component in parse_expression(expression):
        own = f"{short_name(component)}."
        given = {name.removeprefix(own): value for name, value in values.items() if name.startswith(own)}
        components.append(Component(component.name, {**component.arguments, **given}))
    return canonical(tuple(components)), settings


def ends(spaces: Spaces) -> list[dict[str, Any]]:
    """Values to check before any trial: all lowest, all highest, and each choice among lowest ones."""
    lowest, highest = (
        {name: (low if end == 0 else high) for name, (low, high) in _bounds(spaces).items()} for end in (0, 1)
    )
    choices = [
        {**lowest, name: value}
        for name, space in spaces.items()
        if isinstance(space, Choices)
        for value in space.values[1:-1]
    ]
    return [lowest, highest, *choices]


def _bounds(spaces: Spaces) -> dict[str, tuple[Any, Any]]:
    return {
        name: (space.low, space.high) if isinstance(space, Range) else (space.values[0], space.values[-1])
        for name, space in spaces.items()
    }


def as_mapping(space: Space) -> dict[str, Any]:
    """A space as tuned.yaml has it."""
    if isinstance(space, Choices):
        return {"choices": list(space.values)}
    return {"low": space.low, "high": space.high, "log": space.log}


def short_name(component: Component) -> str:
    """What the values of a strategy are called by: its name, or its file's stem."""
    return Path(component.name).stem if component.name.endswith(".py") else component.name
