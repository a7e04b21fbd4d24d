"""The accuracy matrix: its shape, and reading one that a person brings as a CSV of numbers or a result.json."""

from __future__ import annotations

import csv
import io
import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from clbench.errors import InputError
from clbench.files import read_file
from clbench.results.json_text import parse_json

ROUNDING = 1e-6  # relative, of means in single precision
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
SHAPE = "a matrix of T tasks has T columns and T rows, or T+1 rows with the one before training first"


Matrix = Sequence[Sequence[float | None]]


class MatrixFile(NamedTuple):
    """A matrix of T+1 rows of T fractions or None (row 0 all None if the file has none), and how it was read."""

    matrix: list[list[float | None]]
    note: str | None


def check_matrix(matrix: object, where: str = "accuracy matrix") -> int:
    """T of a matrix of T+1 rows of T fractions 0..1 or None; else an InputError that starts with ``where``."""
    if not _is_list(matrix) or len(matrix) < 2 or not all(_is_list(row) for row in matrix):
        raise InputError(
            f"{where} is not a list of two or more rows; allowed: T+1 rows of T numbers, the first before training"
        )
    tasks = len(matrix) - 1
    for i, row in enumerate(matrix):
        if len(row) != tasks:
            raise InputError(f"{where} has {tasks + 1} rows, but row {i} has {len(row)} cells where {tasks} belong")
        for j, cell in enumerate(row):
            if cell is None:
                continue
            number = isinstance(cell, (float, int)) and not isinstance(cell, bool)
            if not (number and 0 <= cell <= 1):
                raise InputError(
                    f"{where}, row {i}, task {j + 1}: {reprlib.repr(cell)} is not 0 to 1, nor null for unmeasured"
                )
    return tasks


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (list, tuple))


def read_matrix(path: str | Path) -> MatrixFile:
    """The accuracy matrix in a file.

    ``path`` is a result.json, or a CSV without header of T columns and T rows (after each task) or T+1 rows (the first:
    before training), empty where unmeasured. Numbers are fractions; if any is above 1 and none above 100 they are
    percentages: they are divided by 100 and the note says so. What is above 1 or 100 by rounding alone is read as 1.
    Anything else is an InputError that names file and cell, a mixture of fractions and percentages, too.
    """
    text = _read_text(Path(path))
    if Path(path).suffix.lower() == ".json" or text.lstrip().startswith("{"):
        return MatrixFile(_parse_result(text, path), None)
    rows = _parse_csv(text, path)
    largest = max((cell for row in rows for cell in row if cell is not None), default=None)
    if largest is None:
        raise InputError(f"{path}: no number in it; {SHAPE}")
    note = None
    if largest > 1 + ROUNDING:
        _refuse_mixture(rows, largest, path)
        rows = [[None if cell is None else cell / 100 for cell in row] for row in rows]
        note = f"{path}: the largest number is {largest:g}, so all were read as percentages and divided by 100"
    elif largest > 1:
        note = f"{path}: the largest number is {largest!r}; what is above 1 by rounding was read as 1"
    rows = [[None if cell is None else min(cell, 1.0) for cell in row] for row in rows]
    columns = len(rows[0])
    return MatrixFile([[None] * columns, *rows] if len(rows) == columns else rows, note)


def _refuse_mixture(rows: Sequence[Sequence[float | None]], largest: float, path: str | Path) -> None:
    """InputError where most cells look like fractions although one is above 1: a slip, and not percentages."""
    cells = [cell for row in rows for cell in row if cell]
    fractions = sum(cell <= 1 for cell in cells)
    if 2 * fractions > len(cells):
        line, row = next((i, row) for i, row in enumerate(rows, start=1) if largest in row)
        raise InputError(
            f"{path}, line {line}, cell {row.index(largest) + 1}: {largest:g} among {fractions} numbers up to 1; "
            "write all as fractions from 0 to 1, or all as percentages"
        )


def _read_text(path: Path) -> str:
    try:
        content = read_file(path)  # a result of a thousand tasks takes a few megabytes
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give a CSV file or a result.json") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start + 1} is not UTF-8; give a CSV file or a result.json in UTF-8"
        ) from error
    if "\0" in text:
        raise InputError(f"{path}: is a binary file; give a CSV file or a result.json")
    return text


def _parse_csv(text: str, path: str | Path) -> list[list[float | None]]:
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: is not CSV: {error}") from error
    while lines and len(lines[-1]) <= 1 and not "".join(lines[-1]).strip():
        lines.pop()
    columns = max(map(len, lines), default=0)
    if columns == 1:
        lines = [line or [""] for line in lines]  # for one task an empty line is an empty cell
    if not columns:
        raise InputError(f"{path}: is empty; {SHAPE}")
    for number, line in enumerate(lines, start=1):
        if len(line) != columns:
            raise InputError(
                f"{path}, line {number}: {len(line)} cells where another line has {columns}; "
                f"{SHAPE}; a cell is empty where unmeasured"
            )
    rows = [
        [_parse_cell(cell, path, i, j) for j, cell in enumerate(line, start=1)] for i, line in enumerate(lines, start=1)
    ]
    if len(rows) not in (columns, columns + 1):
        raise InputError(f"{path}: {len(rows)} rows and {columns} columns; {SHAPE}")
    return rows


def _parse_cell(cell: str, path: str | Path, line: int, column: int) -> float | None:
    text = cell.strip()
    if not text:
        return None
    where = f"{path}, line {line}, cell {column}: {text[:40]!r}"
    if not NUMBER.fullmatch(text):
        hint = (
            "separate cells with commas and write decimals with a point"
            if ";" in text or "\t" in text
            else "the file has no header"
        )
        raise InputError(f"{where} is not a number; allowed: 0 to 1 (or percentages), empty where unmeasured; {hint}")
    number = float(text)
    if not 0 <= number <= 100 * (1 + ROUNDING):
        raise InputError(f"{where} is not an accuracy; allowed: 0 to 1, or percentages from 0 to 100")
    return number


def _parse_result(text: str, path: str | Path) -> list[list[float | None]]:
    try:
        result = parse_json(text)
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
    matrix = result.get("accuracy_matrix") if isinstance(result, dict) else None
    if matrix is None:
        raise InputError(f"{path}: has no 'accuracy_matrix'; give the result.json of a run or a CSV file")
    check_matrix(matrix, f"{path}: accuracy_matrix")
    return [list(row) for row in matrix]
