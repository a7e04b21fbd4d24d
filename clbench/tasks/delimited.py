"""Reads delimited text whose encoding, separator and quoting nobody told: what had to be guessed is said.

A reading is taken only where every row has as many cells as the header. pandas fills short rows and moves long ones
without a word, so the rows are read with Python's csv, strictly.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Literal

from clbench.errors import InputError
from clbench.tasks.columns import Table
from clbench.tasks.tables import any_length
from clbench.text import shorten

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
Lines = list[tuple[int, list[str]]]
"""The line in which each row begins, and its cells."""
Quoting = Literal[0, 3]
LINE = 60  # characters of a line that is shown
NAMES = {"utf-8-sig": "UTF-8", "cp1252": "Windows-1252"}
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def read_delimited(content: bytes, name: str, separator: str = ",") -> Table:
    """The rows of a CSV or TSV file.

    Args:
        content: of the file.
        name: of the file, for error lines.
        separator: what its suffix promises.

    Raises:
        InputError: no reading gives every row as many cells as the header, or there is no row.
    """
    text, encoding, guesses = decode(content, name)
    order = [separator, *(other for other in SEPARATORS if other != separator)]
    for candidate, (rows, quoting) in ((sep, _rows(text, sep)) for sep in order):
        if rows is not None:
            if candidate != separator:
                guesses.append(f"its cells are separated by {SEPARATORS[candidate]}")
            return _table(name, rows, f"{encoding}, separated by {SEPARATORS[candidate]}", [*guesses, *quoting])
    raise _fault(text, order, name)


def decode(content: bytes, name: str) -> tuple[str, str, list[str]]:
    """A file's text, its encoding, and what of it had to be guessed.

    Raises:
        InputError: it is no text in UTF-8 or Windows-1252, or holds NUL characters, as UTF-16 without its mark does.
    """
    marked = next((encoding for mark, encoding in BYTE_ORDER_MARKS.items() if content.startswith(mark)), "")
    guesses = []
    encoding = marked or "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        encoding = "cp1252"
        try:
            text = "" if marked else content.decode(encoding)
        except UnicodeDecodeError:
            text = ""
        if not text:
            raise InputError(
                f"cannot read {name}: line {line} is no {(marked or 'utf-8').upper()}; save it as UTF-8"
            ) from error
        shown = shorten(text.split("\n")[line - 1].strip(), LINE)
        guesses.append(f"it is not UTF-8: read as Windows-1252, where line {line} says {shown!r}")
    if (place := text.find("\0")) >= 0:
        line = text[:place].count("\n") + 1
        raise InputError(f"cannot read {name}: line {line} holds a NUL character; save the file as plain UTF-8 text")
    return text, NAMES.get(encoding, encoding.upper()), guesses


def _rows(text: str, separator: str) -> tuple[Lines | None, list[str]]:
    """The rows with what had to be guessed of their quotes; None where not all have as many cells."""
    if (rows := _consistent(text, separator)) is not None:
        return rows, []
    if '\\"' in text and (rows := _consistent(text.replace('\\"', '""'), separator)) is not None:
        return rows, ["a backslash stands before each quote inside a cell"]
    # Many programs write tabs and never quote; in other files a cell that begins with a quote promises its end.
    if separator == "\t" and (rows := _consistent(text, separator, csv.QUOTE_NONE)) is not None:
        quoted = any(len(cell) > 1 and cell[0] == cell[-1] == '"' for _, cells in rows for cell in cells)
        return (None, []) if quoted else (rows, ["its quotes are characters like others"])
    return None, []


def _consistent(text: str, separator: str, quoting: Quoting = csv.QUOTE_MINIMAL) -> Lines | None:
    """The rows, where all have as many cells as the first, two or more; otherwise None."""
    rows: Lines = []
    try:
        for line, cells in _parse(text, separator, quoting):
            if len(cells) < 2 or (rows and len(cells) != len(rows[0][1])):
                return None
            rows.append((line, cells))
    except csv.Error:
        return None
    return rows or None


def _parse(text: str, separator: str, quoting: Quoting = csv.QUOTE_MINIMAL) -> Iterator[tuple[int, list[str]]]:
    """Each row with content: the line in which it begins, and its stripped cells; csv.Error where a quote is wrong."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True, quoting=quoting)
    while True:
        begins = reader.line_num + 1
        with any_length():
            cells = next(reader, None)
        if cells is None:
            return
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield begins, stripped


def _table(name: str, rows: Lines, facts: str, guesses: list[str]) -> Table:
    header = [cell or f"column {number}" for number, cell in enumerate(rows[0][1], start=1)]
    twice = [column for column in header if header.count(column) > 1]
    if twice:
        raise InputError(f"{name} has {header.count(twice[0])} columns {twice[0]!r}; give each a name of its own")
    if len(rows) < 2:
        raise InputError(f"{name} has a header but no rows")
    columns = {column: [cells[place] for _, cells in rows[1:]] for place, column in enumerate(header)}
    return Table(name, columns, [line for line, _ in rows[1:]], "line", facts, tuple(guesses))


def _fault(text: str, order: list[str], name: str) -> InputError:
    """What is wrong with the file, read with the separator that gives its header most columns."""
    if not text.strip():
        return InputError(f"{name} is empty; allowed: a header and rows")
    first = text.lstrip().splitlines()[0]
    separator = max(order, key=first.count)
    if separator not in first:
        return InputError(
            f"{name}: its first line has no separator; allowed: a header of two or more columns, separated by commas, "
            "semicolons, tabs or bars"
        )
    begins = 1
    try:
        width = 0
        for line, cells in _parse(text, separator):
            begins = line + 1
            if width and len(cells) != width:
                return InputError(
                    f"{name}, line {line}: {len(cells)} cells, but the header has {width}; a cell with a {separator!r} "
                    "in it needs double quotes around it, and each row as many cells"
                )
            width = len(cells)
    except csv.Error as error:
        open_quote = "unexpected end" in str(error)
        fault = "a quote that is opened never closes" if open_quote else f"a quote is out of place ({error})"
        return InputError(
            f"{name}, line {begins} or below: {fault}; a cell with quotes in it stands in double quotes, each of "
            "its own written twice"
        )
    return InputError(f"{name} cannot be read as a table")
