"""JSON of unknown origin: only what a run may hold, no infinite number and no depth that exhausts the stack."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

DEEPEST = 50  # lists and objects in each other; those of a run are at most a few


def parse_json(content: bytes | str) -> Any:
    """The value that ``content`` spells.

    Raises:
        ValueError: it is no JSON, nests deeper than DEEPEST, or holds a number that no float is as large as.
    """
    try:
        value = json.loads(content, parse_constant=_refuse_constant, parse_float=_parse_float)
    except RecursionError as error:
        raise ValueError(f"lists and objects nest deeper than {DEEPEST}") from error
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [inner for each in level for inner in _inside(each)]
    if level:
        raise ValueError(f"lists and objects nest deeper than {DEEPEST}")
    return value


def _inside(value: object) -> list[Any]:
    """The lists and objects that ``value`` holds."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [member for member in members if isinstance(member, dict | list)]


def _parse_float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:40]} is larger than any number here")
    return number


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
