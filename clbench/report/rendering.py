"""Renders a comparison as plain text, Markdown, CSV, LaTeX or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

from clbench.errors import unknown
from clbench.report.columns import DECIMALS, F1_METRICS, higher_is_better
from clbench.report.comparison import Comparison, Table
from clbench.report.rows import Cell, TableRow
from clbench.results import METRICS
from clbench.text import (
    DASH,
    DOWN,
    PLUS_MINUS,
    TIMES,
    UP,
    byte_unit,
    clean,
    escape_latex,
    escape_markdown,
    fixed,
    spreadsheet_cell,
    text_table,
)


def render(comparison: Comparison, format: str = "table") -> str:
    """The comparison as text without a final newline.

    ``format`` is ``table``, ``markdown`` or ``latex`` (with the booktabs package): mean ± sample standard deviation,
    the best of each metric marked; or ``csv`` or ``json``: unrounded numbers, bytes and seconds as they are. InputError
    for others.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return FORMATS[format](comparison)


def _to_text(comparison: Comparison) -> str:
    return "\n\n".join(_text_of(table, comparison.columns) for table in comparison.tables)


def _text_of(table: Table, columns: tuple[str, ...]) -> str:
    header = ["strategy", "seeds", *(column_title(name).replace(" ", "\n") for name in columns)]
    rows = [_line(row, columns, lambda cell, text: f"{text}{'*' if cell.best else ' '}") for row in table.rows]
    cleaned = [[clean(cell) for cell in row] for row in rows]
    notes = [*_legend(table, "*"), *(f"note: {clean(note)}" for note in table.notes)]
    return "\n".join([clean(_title(table)), "", text_table(header, cleaned), *notes])


def _to_markdown(comparison: Comparison) -> str:
    return "\n\n".join(_markdown_of(table, comparison.columns) for table in comparison.tables)


def _markdown_of(table: Table, columns: tuple[str, ...]) -> str:
    header = ["strategy", "seeds", *map(column_title, columns)]
    rule = [":---", *["---:"] * (len(header) - 1)]
    rows = [_line(row, columns, lambda cell, text: f"**{text}**" if cell.best else text) for row in table.rows]
    lines = [header, rule, *([escape_markdown(row[0]), *row[1:]] for row in rows)]
    notes = [f"- {escape_markdown(note)}" for note in [*_legend(table, "bold"), *table.notes]]
    title = f"### {escape_markdown(_title(table))}"
    return "\n".join([title, "", *(f"| {' | '.join(line)} |" for line in lines), "", *notes]).rstrip()


def _to_latex(comparison: Comparison) -> str:
    return "\n\n".join(_latex_of(table, comparison.columns) for table in comparison.tables)


def _latex_of(table: Table, columns: tuple[str, ...]) -> str:
    header = ["strategy", "seeds", *map(column_title, columns)]
    rows = [_line(row, columns, _mark_latex) for row in table.rows]
    notes = [*_legend(table, "bold"), *table.notes]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(_title(table))}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(columns) + 1)}}}",
            r"\toprule",
            rf"{' & '.join(map(escape_latex, header))} \\",
            r"\midrule",
            *(rf"{' & '.join([escape_latex(row[0]), *row[1:]])} \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par{{\footnotesize {escape_latex(note)}\par}}" for note in notes),
            r"\end{table}",
        ]
    )


def _mark_latex(cell: Cell, text: str) -> str:
    escaped = escape_latex(text)  # before the mark, so that the mark's own command stays
    return rf"\textbf{{{escaped}}}" if cell.best else escaped


def _to_csv(comparison: Comparison) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    identity = ["scenario", "setting", "model", "eval_split", "strategy", "difference", "limited", "seeds"]
    writer.writerow(
        [*identity, *(f"{name}_{part}" for name in comparison.columns for part in ("mean", "std", "count"))]
    )
    for table in comparison.tables:
        for row in table.rows:
            names = [table.scenario, table.setting, table.model, table.split, row.strategy, row.difference]
            seeds = " ".join(map(str, row.seeds))
            cells = [row.cells[name] for name in comparison.columns]
            numbers = [part for cell in cells for part in (cell.mean, cell.std, cell.count)]
            writer.writerow([*map(spreadsheet_cell, names), "true" if row.limited else "false", seeds, *numbers])
    return buffer.getvalue().rstrip("\n")


def _to_json(comparison: Comparison) -> str:
    tables = [
        {
            "scenario": table.scenario,
            "setting": table.setting,
            "model": table.model,
            "eval_split": table.split,
            "rows": [_row_object(row) for row in table.rows],
            "notes": list(table.notes),
        }
        for table in comparison.tables
    ]
    return json.dumps({"columns": list(comparison.columns), "tables": tables}, indent=2, allow_nan=False)


def _row_object(row: TableRow) -> dict[str, object]:
    cells = {
        name: {"mean": cell.mean, "std": cell.std, "count": cell.count, "best": cell.best}
        for name, cell in row.cells.items()
    }
    return {
        "strategy": row.strategy,
        "difference": row.difference,
        "limited": row.limited,
        "seeds": row.seeds,
        "runs": [str(run.folder) for run in row.runs],
        "cells": cells,
    }


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "table": _to_text,
    "markdown": _to_markdown,
    "csv": _to_csv,
    "latex": _to_latex,
    "json": _to_json,
}


def column_title(column: str) -> str:
    """A column's heading with its direction (metrics) or unit (costs)."""
    title = column.replace("_", " ")
    if column in METRICS or column in F1_METRICS:
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


def _line(row: TableRow, columns: tuple[str, ...], mark: Callable[[Cell, str], str]) -> list[str]:
    cells = [(cell, format_cell(name, cell.mean, cell.std)) for name in columns for cell in [row.cells[name]]]
    return [row.label, str(len(row.runs)), *(mark(cell, text) for cell, text in cells)]


def _legend(table: Table, mark: str) -> list[str]:
    cells = [cell for row in table.rows for cell in row.cells.values()]
    spread = (
        [f"{PLUS_MINUS}: sample standard deviation over seeds"] if any(cell.std is not None for cell in cells) else []
    )
    best = f"{mark}: best of its column" + (", or within one standard deviation of it" if spread else "")
    return spread + ([best] if any(cell.best for cell in cells) else [])


def _title(table: Table) -> str:
    dev = ", on dev: not for comparison with test" if table.split == "dev" else ""
    return f"{table.scenario}, {table.setting} setting, {table.model}{dev}"
