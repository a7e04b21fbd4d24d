"""A table as every file format gives it, and its cells as texts."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clbench.errors import InputError


@dataclass(frozen=True)
class Table:
    """What one file, or one split of a data set, holds.

    Attributes:
        name: of the file, for people.
        columns: the cells of each column, as the format gives them.
        places: the number of each row's line, or of the row.
        unit: what those numbers count, "line" or "row".
        facts: format, encoding and separator, for people.
        guesses: what of them had to be guessed.
        split: train, dev or test, where the file's name says it.
        task: the task, where the file's name says it.
    """

    name: str
    columns: Mapping[str, Sequence[Any]]
    places: Sequence[int]
    unit: str
    facts: str
    guesses: tuple[str, ...] = ()
    split: str = ""
    task: str = ""


def cell_text(value: Any) -> str | None:
    """A cell as a text without blanks around it, empty for a missing one; None where it is no single value.

    Numbers are spelled as Python spells them, and so are True and False.
    """
    if isinstance(value, str):
        return value.strip()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping | Sequence | set) and not isinstance(value, bytes):
        return None
    return str(value)


def column_texts(table: Table, column: str) -> list[str]:
    """The cells of a column as texts.

    Raises:
        InputError: a cell is a list or an object, or no Unicode text.
    """
    texts = []
    for place, value in zip(table.places, table.columns[column], strict=True):
        text = cell_text(value)
        if text is None or isinstance(value, bytes):
            what = type(value).__name__
            raise InputError(
                f"{table.name}, {table.unit} {place}: {column} is a {what}; allowed: a text, a number, true or false"
            )
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InputError(f"{table.name}, {table.unit} {place}: {column} holds a lone surrogate, no Unicode text")
        texts.append(text)
    return texts
