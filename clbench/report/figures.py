"""The figures of a few strategies, a line each over all scenarios."""

from __future__ import annotations

from collections.abc import Container, Sequence

from clbench.report.comparison import compare
from clbench.report.wording import column_title, format_cell
from clbench.results import Run
from clbench.text import PLUS_MINUS, text_table

COLUMNS = ("average_accuracy", "forgetting", "overhead", "stored_bytes")


def figures_table(runs: Sequence[Run], strategies: Container[str]) -> str:
    """Mean ± sample standard deviation over seeds, a line for each row of a comparison that is of ``strategies``.

    Args:
        runs: theirs, and those of naive, which overheads are measured against.
        strategies: the expressions whose rows are shown.
    """
    header = ["scenario", "setting", "model", "strategy", "seeds", *map(column_title, COLUMNS)]
    rows = [
        [table.scenario, table.setting, table.model, row.label, str(len(row.runs))]
        + [format_cell(name, row.cells[name].mean, row.cells[name].std) for name in COLUMNS]
        for table in compare(runs, COLUMNS).tables
        if table.split == "test"
        for row in table.rows
        if row.strategy in strategies
    ]
    return (
        f"{text_table(header, rows)}\n{PLUS_MINUS}: sample standard deviation over seeds; overhead: wall time, naive 1"
    )
