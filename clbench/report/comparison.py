"""Compares runs: which belong together, their means and standard deviations, what they cost, what sets them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum, isfinite

from clbench.errors import InputError, unknown
from clbench.report.columns import COLUMNS, DECIMALS, DEFAULT_COLUMNS, F1_METRICS, mean_and_std, rank
from clbench.report.hardware import MEASURED, hardware_text
from clbench.report.notes import table_notes
from clbench.report.rows import Cell, TableRow, canonical, group, run_settings, seed_draws_tasks, split_rows
from clbench.results import METRICS, Matrix, Run

SOURCES = "plugin_hashes."
SHORTEST = 1e-6  # seconds: what took less was not timed


@dataclass(frozen=True)
class Table:
    """The rows of one scenario, setting, model and split, with notes on what a reader must know to compare them.

    ``split`` is what was answered: "test", or "dev" where hyper-parameters were chosen.
    """

    scenario: str
    setting: str
    model: str
    split: str
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Tables with the same columns, and the column that sorts their rows, if one does."""

    columns: tuple[str, ...]
    tables: tuple[Table, ...]
    sort: str | None = None


Metric = Callable[[Matrix], float | None]
"""A metric of one's own: of T+1 rows of T fractions or None, the first before training; its name is the column's."""


def compare(runs: Sequence[Run], metrics: Sequence[str | Metric] | None = None, sort: str | None = None) -> Comparison:
    """Group runs into tables by scenario, setting, model and split, and into rows by strategy and settings.

    ``metrics`` are the columns: names of METRICS, the same with ``f1_`` for macro-F1, names of COSTS, or ``overhead``,
    the wall time divided by that of ``naive`` with the same seed, settings and hardware; default DEFAULT_COLUMNS.
    A function of the accuracy matrix is a metric, too, under its own name.
    Runs whose settings differ never share a row, nor do two runs of one seed; those of other tasks do only if the seed
    draws the tasks, see :func:`clbench.report.rows.seed_draws_tasks`. A cell is empty if any run of the row has
    no value, or if seconds or memory were measured on several kinds of hardware; an overhead is the mean over the seeds
    for which there is a naive run. Rows stand by strategy's name, or by ``sort``, one of the columns: the best mean
    first (of a cost the lowest), no value and then limited runs last.

    Raises:
        InputError: there is no run, or a column is unknown, or ``sort`` is none of the columns.
    """
    if not runs:
        raise InputError("no finished run to compare; start one with: clbench run --scenario NAME --strategy EXPR")
    own = {metric.__name__: metric for metric in metrics or () if callable(metric)}
    names = [metric.__name__ if callable(metric) else metric for metric in metrics or DEFAULT_COLUMNS]
    for name in names:
        if name not in COLUMNS and name not in own:
            raise unknown("metric", name, COLUMNS)
    columns = tuple(dict.fromkeys(names))
    runs = [with_metrics(run, own) for run in runs]
    if sort is not None and sort not in columns:
        raise unknown("column to sort by", sort, columns)
    groups = group(runs, _table_key)
    return Comparison(columns, tuple(_make_table(members, columns, sort) for members in groups.values()), sort)


def _table_key(run: Run) -> tuple[str, str, str, str]:
    scenario, setting, model = (str(run.result[key]) for key in ("scenario", "setting", "model"))
    return scenario, setting, model, str(run.config.get("eval_split", "test"))


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


def _make_table(runs: list[Run], columns: Sequence[str], sort: str | None) -> Table:
    strategies = group(runs, lambda run: str(run.result["strategy"]))
    any_tasks = seed_draws_tasks(runs)
    rows = [row for members in strategies.values() for row in split_rows(members, any_tasks)]
    naive = _naive_seconds(runs)
    filled = _mark_best(
        [replace(row, cells={name: _cell(row, name, naive) for name in columns}) for row in rows], columns
    )
    if sort is not None:
        filled.sort(key=lambda row: (row.limited, rank(sort, row.cells[sort].mean)))
    return Table(*_table_key(runs[0]), tuple(filled), tuple(table_notes(filled)))


def _naive_seconds(runs: list[Run]) -> dict[str, float]:
    """Mean wall seconds of the naive runs by what an overhead must share with them."""
    naive = [run for run in runs if run.result["strategy"] == "naive"]
    timed = [run for run in naive if (run.result["cost"]["wall_seconds"] or 0.0) >= SHORTEST]
    groups = group(timed, _timing_key)
    return {key: fsum(run.result["cost"]["wall_seconds"] for run in same) / len(same) for key, same in groups.items()}


def _timing_key(run: Run) -> str:
    settings = {key: value for key, value in run_settings(run).items() if not key.startswith(SOURCES)}
    return canonical([settings, run.result["seed"], hardware_text(run)])


def _cell(row: TableRow, column: str, naive: dict[str, float]) -> Cell:
    values = [_overhead(run, naive) if column == "overhead" else _value(run, column) for run in row.runs]
    known = [value for value in values if value is not None]
    unlike = column in MEASURED and len({hardware_text(run) for run in row.runs}) > 1
    if not known or unlike or (len(known) < len(values) and column != "overhead"):
        return Cell(None, None, len(known))
    return Cell(*mean_and_std(known), len(known))


def _value(run: Run, column: str) -> float | None:
    if column in run.result["metrics"]:
        value = run.result["metrics"][column]
    elif column in F1_METRICS:
        value = (run.result.get("metrics_f1") or {}).get(column.removeprefix("f1_"))
    else:
        value = run.result["cost"][column]
    return None if value is None else float(value)


def _overhead(run: Run, naive: dict[str, float]) -> float | None:
    seconds, reference = run.result["cost"]["wall_seconds"], naive.get(_timing_key(run))
    return None if seconds is None or reference is None else float(seconds / reference)


def _mark_best(rows: list[TableRow], columns: Sequence[str]) -> list[TableRow]:
    """Mark the best of each metric with all that cannot be told from it; limited runs compete only among themselves.

    That is what is equal as printed, or no farther away than the larger of the two standard deviations.
    """
    competing = [row for row in rows if not row.limited] or rows
    for column in columns:
        known = [
            (row, cell, mean) for row in competing for cell in [row.cells[column]] if (mean := cell.mean) is not None
        ]
        if len(known) > 1 and (column in METRICS or column in F1_METRICS):
            _, best, best_mean = min(known, key=lambda each: rank(column, each[2]))
            for row, cell, mean in known:
                spread = max(cell.std or 0.0, best.std or 0.0)
                equal = round(mean, DECIMALS) == round(best_mean, DECIMALS)
                row.cells[column] = replace(cell, best=equal or abs(mean - best_mean) <= spread)
    return rows
