"""A run's JSON files; those of unknown origin hold only what a run may: no infinite number, no exhausting depth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from clbench.errors import InputError
from clbench.files import read_file

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


def read_json(path: Path) -> Any:
    """The value in a JSON file of a run; InputError if it cannot be read or is none."""
    remedy = "restore the file or delete the folder and run it again"
    try:
        return parse_json(read_file(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; {remedy}") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}; {remedy}") from error


def to_json(value: Mapping[str, Any], indent: int | None) -> bytes:
    """``value`` as the content of a JSON file."""
    # A path of undecodable bytes holds lone surrogates; backslashreplace writes them as JSON's own escape.
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


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
