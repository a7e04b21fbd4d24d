"""Reads a CSV file strictly: whatever might shift a cell or change a label is refused, with the line and what to do."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clbench.errors import InputError, nearest
from clbench.files import read_file

LARGEST_TABLE = 2**30  # bytes; it is held in memory several times
# The first of them with which the header has the columns that are asked for.
SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Row:
    """The cells that were asked for, without blanks around them, and the line in which their row begins, from 1."""

    line: int
    cells: tuple[str, ...]


def read_table(path: str | Path, columns: Sequence[str]) -> list[Row]:
    """The cells of ``columns`` in each row of a CSV file with a header; none of them is empty.

    Cells are separated by commas, semicolons, tabs or bars; blanks around a cell are no part of it, and rows without
    any content are passed over.

    Args:
        path: a UTF-8 file, with or without a byte order mark.
        columns: names in the header.

    Raises:
        InputError: a file that cannot be read or has no rows, a column that is missing or stands twice, a row with more
            or fewer cells than the header, an empty cell, or a quote out of place.
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
    rows = []
    for line, cells in _parse(text, separator, path):
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
            headers[separator] = next(_parse(text, separator, ""), (0, []))[1]
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


def _parse(text: str, separator: str, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Each row with content, the header's too: the line in which it begins, and its stripped cells."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            with _any_length():
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
            yield begins, stripped


@contextmanager
def _any_length() -> Iterator[None]:
    """Let a cell be longer than csv's limit for all readers, which is put back."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
