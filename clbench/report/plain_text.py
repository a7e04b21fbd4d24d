"""A comparison as plain text, whole or as wide as a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from clbench.report.columns import FIRST_COLUMNS, by_default
from clbench.report.comparison import Comparison, Table
from clbench.report.difference_words import difference_heading, difference_legend, difference_lines, shown_metrics
from clbench.report.rows import Cell
from clbench.report.wording import column_title, legend, marked, row_line, title
from clbench.text import clean, text_table

GAP = 2  # between two columns


def to_text(comparison: Comparison, width: int | None = None) -> str:
    """Tables for people; with ``width``, in characters, columns that have no room are left out and named."""
    columns = comparison.columns if width is None else _fitting(comparison, width)
    parts = []
    for table in comparison.tables:
        parts.append(_text_of(table, columns, width, comparison.baseline))
        if comparison.baseline is not None:
            parts += [_differences(table, name, comparison.baseline, width) for name in shown_metrics(comparison)]
    parts = [part for part in parts if part]
    left_out = [column_title(name) for name in comparison.columns if name not in columns]
    if left_out:
        parts.append(_wrap(f"left out for want of room: {', '.join(left_out)}; --wide shows all", width))
    return "\n\n".join(parts)


def _text_of(table: Table, columns: Sequence[str], width: int | None, baseline: str | None) -> str:
    marks = {name: any(row.cells[name].best or row.cells[name].untold for row in table.rows) for name in columns}
    header = ["strategy", "seeds", *map(_header, columns)]
    rows = []
    for row in table.rows:
        label, *cells = row_line(row, tuple(columns), _starred)
        cells = [
            cells[0],
            *(cell if marks[name] else cell[:-1] for name, cell in zip(columns, cells[1:], strict=True)),
        ]
        rows += _stacked([[label, *cells]], width)
    notes = [*legend(table, "*", baseline), *(f"note: {clean(note)}" for note in table.notes)]
    lines = [_wrap(clean(title(table)), width), "", text_table(header, rows), *(_wrap(note, width) for note in notes)]
    return "\n".join(lines)


def _starred(cell: Cell, text: str) -> str:
    """The text with its mark, or the room for one."""
    told = marked(cell, text, "{}*".format)
    return told if told != text else f"{text} "


def _differences(table: Table, metric: str, baseline: str, width: int | None) -> str:
    """The table of one metric's differences, without the columns of p that have no room; empty without a row."""
    header, *rows = difference_lines(table, metric)
    if not rows:
        return ""
    notes, left_out = difference_legend([header, *rows]), []
    lines = _stacked(rows, width)
    for name in ("p", "p Holm"):
        if width is not None and name in header and _wide(header, lines) > width:
            place = header.index(name)
            header, lines = (
                [*header[:place], *header[place + 1 :]],
                [[*row[:place], *row[place + 1 :]] for row in lines],
            )
            left_out.append(name)
    if left_out:
        notes.append(f"left out for want of room: {', '.join(left_out)}; --wide shows all")
    title = clean(difference_heading(metric, baseline))
    table_text = text_table([name.replace("95 % ", "95 %\n") for name in header], lines)
    return "\n".join([_wrap(title, width), "", table_text, *(_wrap(note, width) for note in notes)])


def _stacked(rows: Sequence[Sequence[str]], width: int | None) -> list[list[str]]:
    """The rows with labels in pieces, each on a line of its own."""
    lines = []
    for label, *cells in rows:
        first, *more = _pieces(clean(label), width)
        lines += [[first, *map(clean, cells)], *([f"  {piece}", *[""] * len(cells)] for piece in more)]
    return lines


def _wide(header: Sequence[str], lines: Sequence[Sequence[str]]) -> int:
    from rich.cells import cell_len

    heads = [name.removeprefix("95 % ") for name in header]
    return sum(max(map(cell_len, cells)) + GAP for cells in zip(heads, *lines, strict=True)) - GAP


def _fitting(comparison: Comparison, width: int) -> tuple[str, ...]:
    """The columns that have room in every table, the most important first in line, and at least one."""
    from rich.cells import cell_len

    first = FIRST_COLUMNS if by_default(comparison.columns) else ()
    order = [*(name for name in first if name in comparison.columns), *comparison.columns]
    wanted = dict.fromkeys([*([comparison.sort] if comparison.sort else []), *order])
    rows = [row for table in comparison.tables for row in table.rows]
    labels = max(cell_len(piece) + 2 for row in rows for piece in _pieces(clean(row.label), width))
    room = width - max(labels, len("strategy")) - GAP - len("seeds")
    kept: set[str] = set()
    for name in wanted:
        cells = [row_line(row, (name,), lambda _, text: f"{text}*")[-1] for row in rows]
        need = GAP + max(map(cell_len, [*_header(name).split("\n"), *cells]))
        if need <= room or not kept:
            kept.add(name)
            room -= need
    return tuple(name for name in comparison.columns if name in kept)


def _header(column: str) -> str:
    return column_title(column).replace(" ", "\n")


def _pieces(label: str, width: int | None) -> list[str]:
    """The label in pieces of at most a third of the width."""
    from rich.cells import chop_cells

    return [label] if width is None else chop_cells(label, max(16, width // 3 - 2)) or [""]


def _wrap(line: str, width: int | None) -> str:
    return line if width is None else textwrap.fill(line, max(width, 20), subsequent_indent="  ")
