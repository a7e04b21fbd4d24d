"""A comparison as Markdown or LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from clbench.report.comparison import Comparison, Table
from clbench.report.difference_words import difference_heading, difference_legend, difference_lines, shown_metrics
from clbench.report.rows import Cell
from clbench.report.wording import column_title, legend, marked, row_line, title
from clbench.text import escape_latex, escape_markdown


def to_markdown(comparison: Comparison) -> str:
    """A section with a table for each table of the comparison, and one for each metric's differences."""
    return "\n\n".join(_markdown_of(table, comparison) for table in comparison.tables)


def _markdown_of(table: Table, comparison: Comparison) -> str:
    columns = comparison.columns
    header = ["strategy", "seeds", *map(column_title, columns)]
    rows = [row_line(row, columns, lambda cell, text: marked(cell, text, "**{}**".format)) for row in table.rows]
    notes = [*legend(table, "bold", comparison.baseline), *table.notes]
    parts = [f"### {escape_markdown(title(table))}", "", *_markdown_table([header, *rows]), "", *_markdown_list(notes)]
    for metric, lines in _differences(table, comparison):
        heading = f"**{escape_markdown(difference_heading(metric, str(comparison.baseline)))}**"
        parts += ["", heading, "", *_markdown_table(lines), "", *_markdown_list(difference_legend(lines))]
    return "\n".join(parts).rstrip()


def _markdown_table(lines: Sequence[Sequence[str]]) -> list[str]:
    header, *rows = lines
    rule = [":---", *["---:"] * (len(header) - 1)]
    cells = [header, rule, *([escape_markdown(row[0]), *row[1:]] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in cells]


def _markdown_list(lines: Sequence[str]) -> list[str]:
    return [f"- {escape_markdown(line)}" for line in lines]


def _differences(table: Table, comparison: Comparison) -> list[tuple[str, list[list[str]]]]:
    """The metrics whose differences are shown, each with its table's lines."""
    if comparison.baseline is None:
        return []
    found = [(name, difference_lines(table, name)) for name in shown_metrics(comparison)]
    return [(name, lines) for name, lines in found if len(lines) > 1]


def to_latex(comparison: Comparison) -> str:
    """A table environment for each table of the comparison, and one for each metric's differences."""
    return "\n\n".join(part for table in comparison.tables for part in _latex_of(table, comparison))


def _latex_of(table: Table, comparison: Comparison) -> list[str]:
    header = ["strategy", "seeds", *map(column_title, comparison.columns)]
    rows = [row_line(row, comparison.columns, _mark_latex) for row in table.rows]
    notes = [*legend(table, "bold", comparison.baseline), *table.notes]
    parts = [_latex_table(title(table), [header, *rows], notes)]
    for metric, lines in _differences(table, comparison):
        caption = f"{title(table)}; {difference_heading(metric, str(comparison.baseline))}"
        escaped = [[row[0], *map(escape_latex, row[1:])] for row in lines[1:]]
        parts.append(_latex_table(caption, [lines[0], *escaped], difference_legend(lines)))
    return parts


def _latex_table(caption: str, lines: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """``lines`` are a header and rows, of which all but the labels are LaTeX already."""
    header, *rows = lines
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
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
    return marked(cell, escaped, r"\textbf{{{}}}".format)
