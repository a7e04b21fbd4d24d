"""tuned.yaml: for each strategy the values that ``clbench tune`` chose on dev, and all that it tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clbench.config import read_mapping
from clbench.errors import InputError, unknown
from clbench.files import write_atomic
from clbench.results.schema import is_number

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
STATES = (COMPLETE, PRUNED, FAILED)
REMEDY = "give a file that `clbench tune` wrote"


@dataclass(frozen=True)
class Tried:
    """A trial: its values, how it ended, and its score, which is that of the last task it learned if it was pruned."""

    values: Mapping[str, Any]
    state: str
    score: float | None


@dataclass(frozen=True)
class Tuned:
    """What tuning one strategy came to.

    Attributes:
        values: the best ones: ``lr``, ``head_lr`` and arguments as STRATEGY.ARGUMENT.
        dev_score: average accuracy on dev after the last of ``tasks``, the mean over ``seeds``.
        trials: how many.
        seeds: of each trial.
        tasks: those that were used, of ``of_tasks``.
        spaces: of each value: low, high and log, or choices.
        place: scenario, setting and model.
        versions: of clbench and of what it computed with.
        tried: every trial, in order.
    """

    values: Mapping[str, Any]
    dev_score: float
    trials: int
    seeds: list[int]
    tasks: list[str]
    of_tasks: int
    spaces: Mapping[str, Mapping[str, Any]]
    place: Mapping[str, str]
    versions: Mapping[str, str]
    tried: list[Tried]


def write_tuned(path: Path, entries: Mapping[str, Tuned]) -> None:
    """Write tuned.yaml, an entry a strategy.

    Raises:
        InputError: it cannot be written.
    """
    import yaml

    content = {name: asdict(entry) for name, entry in entries.items()}
    text = "# The best of each strategy's trials on dev; use it with: clbench run --tuned FILE\n"
    text += yaml.safe_dump(content, sort_keys=False, width=120, default_flow_style=None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be written: {error.strerror}; choose another file with -o") from error


def read_tuned(path: Path) -> dict[str, Tuned]:
    """The entries of a tuned.yaml by their strategy.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    content = read_mapping(path, "tuned file", "strategies")
    if not content:
        raise InputError(f"tuned file {str(path)!r} is empty; {REMEDY}")
    return {name: _entry(entry, f"tuned file {str(path)!r}, {name!r}") for name, entry in content.items()}


def find_tuned(entries: Mapping[str, Tuned], strategy: str, path: Path) -> Tuned:
    """The entry of a strategy; InputError with the nearest where there is none."""
    if strategy not in entries:
        raise unknown(f"strategy in {str(path)!r}:", strategy, entries)
    return entries[strategy]


def _entry(entry: object, where: str) -> Tuned:
    if not isinstance(entry, dict) or set(entry) != set(CHECKS):
        raise InputError(f"{where} is no entry of {', '.join(CHECKS)}; {REMEDY}")
    for key, (is_valid, allowed) in CHECKS.items():
        if not is_valid(entry[key]):
            raise InputError(f"{where}: {key} is no {allowed}; {REMEDY}")
    if not all(_is_tried(each, entry["spaces"]) for each in entry["tried"]):
        states = ", ".join(STATES)
        raise InputError(f"{where}: a trial has no values of its spaces, state ({states}) and score; {REMEDY}")
    return Tuned(**{**entry, "tried": [Tried(**each) for each in entry["tried"]]})


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def _is_texts(value: object) -> bool:
    return _is_mapping(value) and all(isinstance(text, str) for text in value.values())  # type: ignore[attr-defined]


def _is_list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(type(each) is kind for each in value)


def _is_spaces(value: object) -> bool:
    return _is_mapping(value) and all(map(_is_space, value.values()))  # type: ignore[attr-defined]


def _is_space(space: object) -> bool:
    if not isinstance(space, dict):
        return False
    if set(space) == {"choices"}:
        return isinstance(space["choices"], list)
    numbers = set(space) == {"low", "high", "log"} and is_number(space["low"]) and is_number(space["high"])
    return numbers and space["low"] <= space["high"] and (not space["log"] or space["low"] > 0)


def _is_tried(trial: Mapping[str, Any], spaces: Mapping[str, Mapping[str, Any]]) -> bool:
    if set(trial) != set(Tried.__dataclass_fields__) or not _is_mapping(trial["values"]):
        return False
    if set(trial["values"]) != set(spaces) or trial["state"] not in STATES:
        return False
    values = [(value, spaces[name].get("choices")) for name, value in trial["values"].items()]
    known = all(is_number(value) if choices is None else value in choices for value, choices in values)
    return known and (trial["score"] is None or is_number(trial["score"]))


# What each key of an entry must be.
CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "values": (_is_mapping, "mapping"),
    "dev_score": (is_number, "number"),
    "trials": (lambda value: type(value) is int, "whole number"),
    "seeds": (_is_list_of(int), "list of whole numbers"),
    "tasks": (_is_list_of(str), "list of names"),
    "of_tasks": (lambda value: type(value) is int, "whole number"),
    "spaces": (_is_spaces, "mapping of spaces"),
    "place": (_is_texts, "mapping of texts"),
    "versions": (_is_texts, "mapping of texts"),
    "tried": (_is_list_of(dict), "list of trials"),
}
