"""Reads a CSV file strictly: whatever might shift a cell or change a label is refused, with the line and what to do."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from clbench.errors import InputError, nearest
from clbench.files import LARGEST_TABLE, read_file

# The first of them with which the header has the columns that are asked for.
SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Row:
    """The cells that were asked for, without blanks around them, and the line in which their row begins, from 1."""

    line: int
    cells: tuple[str, ...]


class Broken(NamedTuple):
    """A row of several lines: the line in which it begins, its cells, and the lines."""

    begins: int
    cells: list[str]
    lines: list[str]


def read_table(path: str | Path, columns: Sequence[str], names: Sequence[str] = ()) -> list[Row]:
    """The cells of ``columns`` in each row of a CSV file with a header; none of them is empty.

    Cells are separated by commas, semicolons, tabs or bars; blanks around a cell are no part of it, and rows without
    any content are passed over.

    Args:
        path: a UTF-8 file, with or without a byte order mark.
        columns: names in the header.
        names: those of them that hold names, not texts: what a line inside of a cell must have in these columns to be
            taken for a row that a stray quote has swallowed.

    Raises:
        InputError: a file that cannot be read or has no rows, a column that is missing or stands twice, a row with more
            or fewer cells than the header, an empty cell, a quote out of place, or one that swallows other rows.
    """
    text = _read_text(path)
    separator, header = _header(text, columns)
    for column in columns:
        if (count := header.count(column)) != 1:
            fault = "no column" if count == 0 else f"{count} columns"
            close = nearest(column, [name for name in header if name not in columns])
            hint = f" did you mean {close!r}?" if close and not count else ""
            raise InputError(f"{path} has {fault} {column!r};{hint} its columns: {', '.join(header) or 'none'}")
    places = [header.index(column) for column in columns]
    rows, broken = [], []
    for line, cells, lines in _parse(text, separator, path):
        if len(cells) != len(header):
            raise InputError(
                f"{path}, line {line}: {len(cells)} cells, but the header has {len(header)}; "
                f"a cell with a {separator!r} in it needs double quotes around it, and each row as many cells"
            )
        row = Row(line, tuple(cells[place] for place in places))
        if "" in row.cells:
            raise InputError(
                f"{path}, line {line}: {columns[row.cells.index('')]} is empty or blank; "
                f"{', '.join(columns)} must not be empty: fill the cell or take the row out"
            )
        rows.append(row)
        if len(lines) > 1:
            broken.append(Broken(line, cells, lines))
    known = {header.index(name): {row.cells[columns.index(name)] for row in rows[1:]} for name in names}
    for each in broken:
        _refuse_swallowed_rows(each, separator, known, path)
    if len(rows) < 2:
        raise InputError(f"{path} has a header but no rows")
    return rows[1:]  # the first is the header


def _read_text(path: str | Path) -> str:
    try:
        content = read_file(path, LARGEST_TABLE)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"cannot read {path}: it is UTF-16, not utf-8; save it as UTF-8")
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"cannot read {path}: line {line} is not utf-8; save the file as UTF-8") from error
    if (place := text.find("\0")) >= 0:
        line = text[:place].count("\n") + 1
        raise InputError(f"cannot read {path}: line {line} holds a NUL character; save the file as plain UTF-8 text")
    return text


def _header(text: str, columns: Sequence[str]) -> tuple[str, list[str]]:
    """The separator and the names of the columns."""
    headers = {}
    for separator in SEPARATORS:
        try:
            headers[separator] = next(_parse(text, separator, ""), (0, [], []))[1]
        except InputError:
            continue  # with this separator a quote of the header is out of place
        if all(column in headers[separator] for column in columns):
            return separator, headers[separator]
    if not headers:
        raise InputError(
            "the header of the file has a quote out of place; allowed: names with a separator between them"
        )
    separator = max(headers, key=lambda separator: len(headers[separator]))
    return separator, headers[separator]


def _refuse_swallowed_rows(
    broken: Broken, separator: str, known: Mapping[int, Collection[str]], path: str | Path
) -> None:
    """InputError where a line inside of a cell is a row of the table: as many cells, and names that the table knows.

    A text of several lines may hold as many separators, but hardly a task and a label of the table in their places.

    Args:
        broken: a row of several lines.
        separator: of the table.
        known: the names that the table has, by the place of their column.
        path: of the table, for the error line.
    """
    swallowing = {place for place, cell in enumerate(broken.cells) if len(cell.splitlines()) > 1}
    telling = {place: names for place, names in known.items() if place not in swallowing}
    for number, line in enumerate(broken.lines[1:], start=broken.begins + 1):
        # Quotes as if they were letters: one of them is where it does not belong.
        cells = [cell.strip().strip('"').strip() for cell in line.split(separator)]
        if telling and len(cells) == len(broken.cells) and all(cells[place] in telling[place] for place in telling):
            raise InputError(
                f"{path}, line {broken.begins}: a quote that is opened here takes in line {number}, which is a row of "
                "its own: take the quote out, or put the whole cell in double quotes and write the quote twice in it"
            )


def _parse(text: str, separator: str, path: str | Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """Each row with content, the header's too: the line in which it begins, its stripped cells, and its lines."""
    lines: list[str] = []
    reader = csv.reader(_noted(text, lines), delimiter=separator, skipinitialspace=True, strict=True)
    while True:
        begins = reader.line_num + 1
        lines.clear()
        try:
            with any_length():
                cells = next(reader, None)
        except csv.Error as error:
            open_quote = "unexpected end" in str(error)
            fault = "a quote that is opened here never closes" if open_quote else f"a quote is out of place ({error})"
            raise InputError(
                f"{path}, line {begins}: {fault}; a cell with quotes in it stands in double quotes, each of its own "
                "written twice"
            ) from error
        if cells is None:
            return
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield begins, stripped, list(lines)


def _noted(text: str, lines: list[str]) -> Iterator[str]:
    """The lines of ``text``, each added to ``lines`` when it is taken."""
    for line in io.StringIO(text, newline=""):
        lines.append(line)
        yield line


@contextmanager
def any_length() -> Iterator[None]:
    """Let a cell be longer than csv's limit for all readers, which is put back."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
