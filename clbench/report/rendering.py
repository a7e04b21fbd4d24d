"""Renders a comparison as plain text, Markdown, CSV, LaTeX or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict

from clbench.errors import unknown
from clbench.report.comparison import Comparison
from clbench.report.markup import to_latex, to_markdown
from clbench.report.plain_text import to_text
from clbench.report.rows import Cell, TableRow
from clbench.report.statistics import Difference
from clbench.text import spreadsheet_cell


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


def _to_csv(comparison: Comparison) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    identity = ["scenario", "setting", "model", "eval_split", "measure", "strategy", "difference"]
    identity += ["limited", "tuned", "seeds"]
    differences = [
        (name, part) for name in comparison.metrics if comparison.baseline is not None for part in asdict(Difference())
    ]
    parts = [(name, part) for name in comparison.columns for part in ("mean", "std", "count")]
    writer.writerow([*identity, *(f"{name}_{part}" for name, part in [*parts, *differences])])
    for table in comparison.tables:
        for row in table.rows:
            kind = [table.scenario, table.setting, table.model, table.split, table.measure]
            names = [*kind, row.strategy, row.difference]
            seeds = " ".join(map(str, row.seeds))
            numbers = [getattr(row.cells[name], part) for name, part in parts]
            numbers += [getattr(row.cells[name].difference or Difference(), part) for name, part in differences]
            marks = ["true" if mark else "false" for mark in (row.limited, row.tuned)]
            writer.writerow([*map(spreadsheet_cell, names), *marks, seeds, *numbers])
    return buffer.getvalue().rstrip("\n")


def _to_json(comparison: Comparison) -> str:
    tables = [
        {
            "scenario": table.scenario,
            "setting": table.setting,
            "model": table.model,
            "eval_split": table.split,
            "measure": table.measure,
            "rows": [_row_object(row, comparison) for row in table.rows],
            "notes": list(table.notes),
        }
        for table in comparison.tables
    ]
    told = {} if comparison.baseline is None else {"baseline": comparison.baseline}
    return json.dumps({"columns": list(comparison.columns), **told, "tables": tables}, indent=2, allow_nan=False)


def _row_object(row: TableRow, comparison: Comparison) -> dict[str, object]:
    compared = comparison.metrics if comparison.baseline is not None else ()
    cells = {name: _cell_object(cell, name in compared) for name, cell in row.cells.items()}
    return {
        "strategy": row.strategy,
        "difference": row.difference,
        "limited": row.limited,
        "tuned": row.tuned,
        "seeds": row.seeds,
        "runs": [str(run.folder) for run in row.runs],
        "cells": cells,
    }


def _cell_object(cell: Cell, compared: bool) -> dict[str, object]:
    known: dict[str, object] = {"mean": cell.mean, "std": cell.std, "count": cell.count, "best": cell.best}
    return {**known, "untold": cell.untold, **asdict(cell.difference or Difference())} if compared else known


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "table": to_text,
    "markdown": to_markdown,
    "csv": _to_csv,
    "latex": to_latex,
    "json": _to_json,
}
