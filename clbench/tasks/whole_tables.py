"""All columns of a delimited file with its cells as they stand, strictly: what would move a cell is refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from typing import Any

from clbench.errors import InputError
from clbench.tasks.tables import SEPARATORS, any_length


def read_columns(content: bytes, separator: str, wanted: Collection[str]) -> dict[str, list[str]]:
    """The cells of each column by its name; lines without anything are passed over.

    Args:
        content: UTF-8, with or without a byte order mark.
        separator: what the file's suffix promises; another one where only with that the header has a wanted name.
        wanted: names of columns.

    Raises:
        InputError: a row has more or fewer cells than the header, a quote is out of place, or a column stands twice.
        UnicodeDecodeError: it is not UTF-8.
    """
    text = content.decode("utf-8-sig")
    order = [separator, *(other for other in SEPARATORS if other != separator)]
    headers = {each: _header(text, each) for each in order}
    own = next((each for each in order if set(wanted) & set(headers[each])), separator)
    header = headers[own]
    if twice := [name for name in header if header.count(name) > 1]:
        raise InputError(f"{header.count(twice[0])} columns are called {twice[0]!r}; give each a name of its own")
    rows = _rows(text, own, header)
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def _header(text: str, separator: str) -> list[str]:
    try:
        with any_length():
            cells: list[str] = next((row for row in _reader(text, separator) if row), [])
    except csv.Error:
        return []  # with this separator a quote is out of place
    return [cell.strip() or f"column {number}" for number, cell in enumerate(cells, 1)]


def _rows(text: str, separator: str, header: Sequence[str]) -> list[list[str]]:
    """Those under the header."""
    rows: list[list[str]] = []
    reader, begins = _reader(text, separator), 1
    try:
        with any_length():
            for row in reader:
                if row and len(row) != len(header):
                    raise InputError(
                        f"line {begins}: {len(row)} cells, but the header has {len(header)}; a cell with a "
                        f"{separator!r} in it needs double quotes around it, and each row as many cells"
                    )
                rows += [row] if row else []
                begins = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"line {begins}: a quote is out of place ({error}); a cell with quotes in it stands in double quotes, "
            "each of its own written twice"
        ) from error
    return rows[1:]


def _reader(text: str, separator: str) -> Any:  # csv does not name its reader's type
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
