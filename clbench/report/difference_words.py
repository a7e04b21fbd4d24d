"""Differences from a baseline as a person reads them, whatever the format."""

from __future__ import annotations

from clbench.report.columns import DECIMALS, by_default
from clbench.report.comparison import Comparison, Table
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
NO_EXAMPLES = "no interval over test examples: there is one of average accuracy only, where answers are stored"
EXAMPLES = "95 % over examples"
WHOLE = ("strategy", "pairs", "difference", "95 % over seeds", "p", "p Holm", EXAMPLES)
LACKING = ("p", "p Holm", EXAMPLES)


def shown_metrics(comparison: Comparison) -> tuple[str, ...]:
    """The metrics whose differences a page has room for: those that were asked for, else average accuracy."""
    return ("average_accuracy",) if by_default(comparison.columns) else comparison.metrics


def difference_heading(metric: str, baseline: str) -> str:
    """What a table of differences is of."""
    return f"{column_title(metric)}: difference from {baseline}"


def difference_lines(table: Table, metric: str) -> list[list[str]]:
    """The header and the cells of each row that was compared with a baseline, without statistics that no row has."""
    told = [(row, row.cells[metric].difference) for row in table.rows]
    lines = [list(WHOLE), *(_line(row, difference) for row, difference in told if difference is not None)]
    empty = [i for i, name in enumerate(WHOLE) if name in LACKING and all(line[i] == DASH for line in lines[1:])]
    return [[cell for i, cell in enumerate(line) if i not in empty] for line in lines]


def difference_legend(lines: list[list[str]]) -> list[str]:
    """What the columns of differences mean, one sentence each."""
    examples = OVER_EXAMPLES if EXAMPLES in lines[0] else NO_EXAMPLES
    return [OVER_SEEDS, examples, *([P] if "p" in lines[0] else [])]


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
