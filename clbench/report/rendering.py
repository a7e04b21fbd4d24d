"""Renders a comparison as plain text, Markdown, CSV, LaTeX or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

from clbench.errors import unknown
from clbench.report.comparison import Comparison, Table
from clbench.report.plain_text import to_text
from clbench.report.rows import Cell, TableRow
from clbench.report.wording import column_title, legend, row_line, title
from clbench.text import escape_latex, escape_markdown, spreadsheet_cell


def render(comparison: Comparison, format: str = "table", width: int | None = None) -> str:
    """The comparison as text without a final newline.

    ``format`` is ``table``, ``markdown`` or ``latex`` (with the booktabs package): mean ± sample standard deviation,
    the best of each metric marked; or ``csv`` or ``json``: unrounded numbers, bytes and seconds as they are. InputError
    for others. A ``table`` fits ``width`` characters, if given, and says which columns that leaves out; the other
    formats are always whole.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return to_text(comparison, width) if format == "table" else FORMATS[format](comparison)


def _to_markdown(comparison: Comparison) -> str:
    return "\n\n".join(_markdown_of(table, comparison.columns) for table in comparison.tables)


def _markdown_of(table: Table, columns: tuple[str, ...]) -> str:
    header = ["strategy", "seeds", *map(column_title, columns)]
    rule = [":---", *["---:"] * (len(header) - 1)]
    rows = [row_line(row, columns, lambda cell, text: f"**{text}**" if cell.best else text) for row in table.rows]
    lines = [header, rule, *([escape_markdown(row[0]), *row[1:]] for row in rows)]
    notes = [f"- {escape_markdown(note)}" for note in [*legend(table, "bold"), *table.notes]]
    heading = f"### {escape_markdown(title(table))}"
    return "\n".join([heading, "", *(f"| {' | '.join(line)} |" for line in lines), "", *notes]).rstrip()


def _to_latex(comparison: Comparison) -> str:
    return "\n\n".join(_latex_of(table, comparison.columns) for table in comparison.tables)


def _latex_of(table: Table, columns: tuple[str, ...]) -> str:
    header = ["strategy", "seeds", *map(column_title, columns)]
    rows = [row_line(row, columns, _mark_latex) for row in table.rows]
    notes = [*legend(table, "bold"), *table.notes]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(title(table))}}}",
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
    "table": to_text,
    "markdown": _to_markdown,
    "csv": _to_csv,
    "latex": _to_latex,
    "json": _to_json,
}
