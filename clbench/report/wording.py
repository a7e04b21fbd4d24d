"""The words and numbers of a comparison as a person reads them, whatever the format."""

from __future__ import annotations

from collections.abc import Callable

from clbench.report.columns import DECIMALS, DIRECTED, higher_is_better
from clbench.report.comparison import Table
from clbench.report.rows import Cell, TableRow
from clbench.results import ACCURACY
from clbench.text import DASH, DOWN, PLUS_MINUS, TIMES, UP, byte_unit, fixed

UNTOLD = "?"


def column_title(column: str) -> str:
    """A column's heading with its direction (metrics) or unit (costs)."""
    title = column.replace("_", " ")
    if column in DIRECTED:
        return f"{title} {UP if higher_is_better(column) else DOWN}"
    if column == "overhead":
        return f"overhead ({TIMES})"
    if column.endswith("_seconds"):
        return f"{title.removesuffix(' seconds')} (s)"
    return title.removesuffix(" bytes")


def format_cell(column: str, mean: float | None, std: float | None = None) -> str:
    """Mean and, where there is one, standard deviation of a column as a person reads them; a dash for no value."""
    if mean is None:
        return DASH
    decimals, divisor, unit = DECIMALS, 1.0, ""
    if column.endswith("_bytes"):
        divisor, name = byte_unit(mean)
        decimals, unit = (0 if divisor == 1 else 1), f" {name}"
    elif column == "overhead":
        decimals = 2
    elif column.endswith("_seconds"):
        decimals = 1
    elif column in ("trainable_parameters", "examples_seen"):
        return f"{mean:,.0f}" + (f" {PLUS_MINUS} {std:,.0f}" if std else "")
    spread = "" if std is None or (unit and not std) else f" {PLUS_MINUS} {fixed(std / divisor, decimals)}"
    return f"{fixed(mean / divisor, decimals)}{spread}{unit}"


def marked(cell: Cell, text: str, mark: Callable[[str], str]) -> str:
    """A cell's text with ``mark`` if it is the best or like it, and with UNTOLD if it cannot be told from it."""
    return mark(text) if cell.best else f"{text}{UNTOLD}" if cell.untold else text


def row_line(row: TableRow, columns: tuple[str, ...], mark: Callable[[Cell, str], str]) -> list[str]:
    """The cells of a row as a person reads them: its label, its number of seeds, and each mean with its mark."""
    cells = [(cell, format_cell(name, cell.mean, cell.std)) for name in columns for cell in [row.cells[name]]]
    return [row.label, str(len(row.runs)), *(mark(cell, text) for cell, text in cells)]


def legend(table: Table, mark: str, baseline: str | None = None) -> list[str]:
    """What the signs in a table mean; ``mark`` is how the best is shown, by paired differences if with a baseline."""
    cells = [cell for row in table.rows for cell in row.cells.values()]
    spread = (
        [f"{PLUS_MINUS}: sample standard deviation over seeds"] if any(cell.std is not None for cell in cells) else []
    )
    paired = " with two or more seeds, or not to be told from it: the 95 % interval of their paired difference holds 0"
    alike = paired if baseline is not None else ", or within one standard deviation of it" if spread else ""
    best = f"{mark}: best of its column{alike}"
    untold = f"{UNTOLD}: fewer than two seeds shared with that best, so that nothing tells them apart"
    return [
        *spread,
        *([best] if any(cell.best for cell in cells) else []),
        *([untold] if any(cell.untold for cell in cells) else []),
    ]


def title(table: Table) -> str:
    """What a table is of; runs on dev are told, and a measure that is not accuracy."""
    dev = ", on dev: not for comparison with test" if table.split == "dev" else ""
    measure = "" if table.measure == ACCURACY else f", measured as {table.measure}"
    return f"{table.scenario}, {table.setting} setting, {table.model}{measure}{dev}"
