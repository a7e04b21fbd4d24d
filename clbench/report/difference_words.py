"""Differences from a baseline as a person reads them, whatever the format."""

from __future__ import annotations

from clbench.report.columns import DECIMALS, DEFAULT_COLUMNS
from clbench.report.comparison import Comparison, Table
from clbench.report.pairs import baseline_rows
from clbench.report.rows import TableRow
from clbench.report.statistics import Difference
from clbench.report.wording import column_title
from clbench.text import DASH, fixed

OVER_SEEDS = (
    "95 % over seeds: where the mean difference of ever more seeds would be, on these test examples or others that the "
    "seed draws (paired by seed, Student's t: it takes differences between seeds for normally distributed)"
)
OVER_EXAMPLES = (
    "95 % over examples: where the difference of these very runs would be on ever more test examples (paired "
    "bootstrap, stratified by task); it says nothing of other seeds"
)
P = "p: exact sign-flip permutation test over seeds, two-sided; p Holm: the same, corrected for the number of rows"
WHOLE = ("strategy", "pairs", "difference", "95 % over seeds", "p", "p Holm", "95 % over examples")


def shown_metrics(comparison: Comparison) -> tuple[str, ...]:
    """The metrics whose differences a page has room for: those that were asked for, else average accuracy."""
    return ("average_accuracy",) if comparison.columns == DEFAULT_COLUMNS else comparison.metrics


def difference_heading(metric: str, baseline: str) -> str:
    """What a table of differences is of."""
    return f"{column_title(metric)}: difference from {baseline}"


def difference_lines(table: Table, metric: str, baseline: str) -> list[list[str]]:
    """The header and the cells of each row but the baseline's; without p where no row has one."""
    others = [row for row in table.rows if row not in baseline_rows(table.rows, baseline)]
    lines = [list(WHOLE), *(_line(row, row.cells[metric].difference or Difference()) for row in others)]
    empty = [i for i, name in enumerate(WHOLE) if name.startswith("p") and all(line[i] == DASH for line in lines[1:])]
    return [[cell for i, cell in enumerate(line) if i not in empty] for line in lines]


def difference_legend(lines: list[list[str]]) -> list[str]:
    """What the columns of differences mean, one sentence each."""
    return [OVER_SEEDS, OVER_EXAMPLES, *([P] if "p" in lines[0] else [])]


def _line(row: TableRow, told: Difference) -> list[str]:
    return [
        row.label,
        str(told.n),
        _signed(told.difference),
        _interval(told.low, told.high),
        _probability(told.p),
        _probability(told.p_holm),
        _interval(told.example_low, told.example_high),
    ]


def _signed(value: float | None) -> str:
    return DASH if value is None else f"{'' if value < 0 else '+'}{fixed(value, DECIMALS)}"


def _interval(low: float | None, high: float | None) -> str:
    return DASH if low is None else f"{_signed(low)} to {_signed(high)}"


def _probability(value: float | None) -> str:
    return DASH if value is None else fixed(value, 4)
