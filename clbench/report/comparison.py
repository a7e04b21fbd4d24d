"""Compares runs: which belong together, their means and standard deviations, what they cost, what sets them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from clbench.errors import InputError, unknown
from clbench.report.cells import make_cell, mark_best, metric_value, naive_seconds
from clbench.report.columns import BESIDE, COLUMNS, default_columns, metric_columns, rank
from clbench.report.derived import with_derived
from clbench.report.differences import add_differences
from clbench.report.notes import table_notes
from clbench.report.pairs import baseline_rows
from clbench.report.rows import TableRow, group, seed_draws_tasks, split_rows, table_key
from clbench.results import Matrix, Run


@dataclass(frozen=True)
class Table:
    """The rows of one scenario, setting, model, split and measure, with notes on what to know before comparing them.

    ``split`` is what was answered: "test", or "dev" where hyper-parameters were chosen. ``measure`` is what a cell of
    the matrix is, whatever the metrics are called.
    """

    scenario: str
    setting: str
    model: str
    split: str
    measure: str
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Tables with the same columns, the column that sorts their rows, and what rows are told to differ from, if any."""

    columns: tuple[str, ...]
    tables: tuple[Table, ...]
    sort: str | None = None
    baseline: str | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The columns that are no costs."""
        return metric_columns(self.columns)


Metric = Callable[[Matrix], float | None]
"""A metric of one's own: of T+1 rows of T fractions or None, the first before training; its name is the column's."""


def compare(
    runs: Sequence[Run],
    metrics: Sequence[str | Metric] | None = None,
    sort: str | None = None,
    baseline: str | None = None,
) -> Comparison:
    """Group runs into tables by scenario, setting, model, split and measure, and into rows by strategy and settings.

    ``metrics`` are the columns: names of METRICS, the same with ``f1_`` for macro-F1 or ``probe_`` for the linear
    probe, of DERIVED, which need stored answers or a run of joint with the same seed, of COSTS, ``ability_lost``, or
    ``overhead``, the wall time divided by that of ``naive`` with the same seed, settings and hardware; default
    DEFAULT_COLUMNS, and BESIDE where any run has them. A function
    of the accuracy matrix is a metric, too, under its own name.

    Runs whose settings differ never share a row, nor do two runs of one seed; those of other tasks do only if the seed
    draws the tasks, see :func:`clbench.report.rows.seed_draws_tasks`. A cell is empty if any run of the row has
    no value, or if seconds or memory were measured on several kinds of hardware; an overhead is the mean over the seeds
    for which there is a naive run. Rows stand by strategy's name, or by ``sort``, one of the columns: the best mean
    first (of a cost the lowest), no value and then limited runs last.

    ``baseline`` is a strategy, or a row's label where it has several: then the cells of metrics have their difference
    from it, see :class:`clbench.report.statistics.Difference`, and those that cannot be told from the best are marked
    by their paired differences.

    Raises:
        InputError: there is no run, or a column is unknown, or ``sort`` is none of the columns, or ``baseline`` is in
            no table.
    """
    if not runs:
        raise InputError("no finished run to compare; start one with: clbench run --scenario NAME --strategy EXPR")
    own = {metric.__name__: metric for metric in metrics or () if callable(metric)}
    names = [metric.__name__ if callable(metric) else metric for metric in metrics or _columns_of(runs)]
    for name in names:
        if name not in COLUMNS and name not in own:
            raise unknown("metric", name, COLUMNS)
    columns = tuple(dict.fromkeys(names))
    runs = with_derived([with_metrics(run, own) for run in runs], columns)
    if sort is not None and sort not in columns:
        raise unknown("column to sort by", sort, columns)
    groups = group(runs, table_key)
    tables = tuple(_make_table(members, columns, sort, baseline) for members in groups.values())
    rows = [row for table in tables for row in table.rows]
    if baseline is not None and not baseline_rows(rows, baseline):
        raise unknown("baseline", baseline, {row.strategy for row in rows})
    return Comparison(columns, tables, sort, baseline)


def _columns_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """The columns that are shown where none are asked for."""
    return default_columns([name for name in BESIDE if any(metric_value(run, name) is not None for run in runs)])


def with_metrics(run: Run, own: Mapping[str, Metric]) -> Run:
    """The run with metrics of one's own, worked out from its accuracy matrix.

    Raises:
        InputError: one has the name of a column, fails, or gives neither a number nor None.
    """
    values: dict[str, float | None] = {}
    for name, metric in own.items():
        if name in COLUMNS:
            raise InputError(f"metric {name!r} is clbench's own; give yours another name")
        try:
            value = metric(run.result["accuracy_matrix"])
            values[name] = None if value is None else float(value)
        except Exception as error:  # another's code
            raise InputError(f"metric {name!r} of {run.folder}: {type(error).__name__}: {error}") from error
        if not isfinite(values[name] or 0.0):
            raise InputError(f"metric {name!r} of {run.folder} is {values[name]}; allowed: finite numbers and None")
    return replace(run, result={**run.result, "metrics": {**run.result["metrics"], **values}})


def _make_table(runs: list[Run], columns: Sequence[str], sort: str | None, baseline: str | None) -> Table:
    strategies = group(runs, lambda run: str(run.result["strategy"]))
    any_tasks = seed_draws_tasks(runs)
    rows = [row for members in strategies.values() for row in split_rows(members, any_tasks)]
    naive = naive_seconds(runs)
    filled = mark_best(
        [replace(row, cells={name: make_cell(row, name, naive) for name in columns}) for row in rows],
        columns,
        paired=baseline is not None,
    )
    if sort is not None:
        filled.sort(key=lambda row: (row.limited, rank(sort, row.cells[sort].mean)))
    key, notes = table_key(runs[0]), table_notes(filled)
    if baseline is not None:
        notes += add_differences(filled, metric_columns(columns), baseline, metric_value, key[-1])
    return Table(*key, tuple(filled), tuple(notes))
