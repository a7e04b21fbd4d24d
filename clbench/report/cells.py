"""The cells of a comparison: a metric's or cost's mean over a row's runs, and which cannot be told from the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import fsum
from typing import Any

from clbench.report.columns import DECIMALS, DIRECTED, F1_METRICS, LOST, PROBE_METRICS, mean_and_std, rank
from clbench.report.differences import told_apart
from clbench.report.hardware import MEASURED, hardware_text
from clbench.report.rows import Cell, TableRow, canonical, group, settings_but_sources
from clbench.results import Run, ability_lost

SHORTEST = 1e-6  # seconds: what took less was not timed


def naive_seconds(runs: list[Run]) -> dict[str, float]:
    """Mean wall seconds of the naive runs by what an overhead must share with them."""
    naive = [run for run in runs if run.result["strategy"] == "naive"]
    timed = [run for run in naive if (run.result["cost"]["wall_seconds"] or 0.0) >= SHORTEST]
    groups = group(timed, _timing_key)
    return {key: fsum(run.result["cost"]["wall_seconds"] for run in same) / len(same) for key, same in groups.items()}


def _timing_key(run: Run) -> str:
    return canonical([settings_but_sources(run), run.result["seed"], hardware_text(run)])


def make_cell(row: TableRow, column: str, naive: dict[str, float]) -> Cell:
    """Mean and deviation of a column over a row's runs; ``naive`` has the seconds that an overhead is against."""
    values = [_overhead(run, naive) if column == "overhead" else metric_value(run, column) for run in row.runs]
    known = [value for value in values if value is not None]
    unlike = column in MEASURED and len({hardware_text(run) for run in row.runs}) > 1
    if not known or unlike or (len(known) < len(values) and column != "overhead"):
        return Cell(None, None, len(known))
    return Cell(*mean_and_std(known), len(known))


def metric_value(run: Run, column: str) -> float | None:
    """A run's value of a metric or cost; None where it is not known."""
    return result_value(run.result, column)


def result_value(result: Mapping[str, Any], column: str) -> float | None:
    """A metric or cost in the content of a result.json; None where it is not known."""
    if column in result["metrics"]:
        value = result["metrics"][column]
    elif column in F1_METRICS:
        value = (result.get("metrics_f1") or {}).get(column.removeprefix("f1_"))
    elif column in PROBE_METRICS:
        value = (result.get("metrics_probe") or {}).get(column.removeprefix("probe_"))
    elif column == LOST:
        value = ability_lost(result)
    else:
        value = result["cost"][column]
    return None if value is None else float(value)


def _overhead(run: Run, naive: dict[str, float]) -> float | None:
    seconds, reference = run.result["cost"]["wall_seconds"], naive.get(_timing_key(run))
    return None if seconds is None or reference is None else float(seconds / reference)


def mark_best(rows: list[TableRow], columns: Sequence[str], paired: bool) -> list[TableRow]:
    """Mark the best of each metric with all that cannot be told from it; limited runs compete only among themselves.

    That is what is equal as printed, or no farther away than the larger of the two standard deviations; or, if
    ``paired``, whose difference over shared seeds does not tell them apart: from the best with two or more seeds, if
    there is one.
    """
    competing = [row for row in rows if not row.limited] or rows
    for column in columns:
        known = [
            (row, cell, mean) for row in competing for cell in [row.cells[column]] if (mean := cell.mean) is not None
        ]
        if len(known) > 1 and column in DIRECTED:
            several = [each for each in known if paired and each[1].count > 1]
            first, best, best_mean = min(several or known, key=lambda each: rank(column, each[2]))
            for row, cell, mean in known:
                spread = max(cell.std or 0.0, best.std or 0.0)
                close = round(mean, DECIMALS) == round(best_mean, DECIMALS) or abs(mean - best_mean) <= spread
                told = told_apart(row, first, partial(metric_value, column=column)) if paired else not close
                row.cells[column] = replace(cell, best=told is False, untold=told is None)
    return rows
