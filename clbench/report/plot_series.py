"""What plots share: runs as named series with a mean matrix, names and titles that fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from clbench.errors import InputError
from clbench.report.columns import mean_and_std
from clbench.report.comparison import Table, compare
from clbench.report.rows import TableRow
from clbench.results import ACCURACY, Run
from clbench.text import clean, shorten

LONGEST_NAME = 34
LONGEST_TASK_NAME = 16
GREY = "#767676"
MOST_SERIES = 80


@dataclass(frozen=True)
class Series:
    """One row of a comparison as a plot draws it; matrices are (T+1)xT, nan where a run lacks the cell.

    Where each seed draws tasks of its own they go by their number.
    """

    name: str
    row: TableRow
    tasks: tuple[str, ...]
    mean: list[list[float]]
    std: list[list[float]]  # sample standard deviation over seeds; nan for one seed


def collect(runs: Sequence[Run]) -> list[Series]:
    """One series for each row that ``compare`` makes of the runs; the name says in what tables differ."""
    comparison = compare(runs, ["learning_accuracy", "forgetting", "overhead"])
    pairs = [(table, row) for table in comparison.tables for row in table.rows]
    names = figure_names([_full_name(table, row, comparison.tables) for table, row in pairs], LONGEST_NAME)
    return [_series(name, row) for name, (_, row) in zip(names, pairs, strict=True)]


def require_one_sequence(series: Sequence[Series], runs: Sequence[Run]) -> tuple[str, ...]:
    """The tasks that all series share; InputError if the runs are of several scenarios or task sequences."""
    scenarios = sorted({run.result["scenario"] for run in runs})
    if len(scenarios) > 1:
        raise InputError(
            f"runs of {len(scenarios)} scenarios in one plot: {', '.join(scenarios)}; give the folder of one"
        )
    sequences = {each.tasks for each in series}
    if len(sequences) > 1:
        shown = "; ".join(", ".join(tasks) for tasks in sorted(sequences))
        raise InputError(f"runs of {len(sequences)} task sequences in one plot: {shown}; give the folders of one")
    return series[0].tasks


def refuse_too_many(series: Sequence[Series]) -> None:
    """InputError for more series than a figure shows."""
    if len(series) > MOST_SERIES:
        raise InputError(f"{len(series)} strategies in one plot; allowed: {MOST_SERIES}; give the folders of fewer")


def figure_names(names: Sequence[str], limit: int) -> list[str]:
    """``names`` for matplotlib: printable, about ``limit`` characters, all different, dollar signs not mathematics."""
    short = [shorten(clean(name), limit) for name in names]
    numbered = [
        f"{name} ({short[: i + 1].count(name)})" if short.count(name) > 1 else name for i, name in enumerate(short)
    ]
    return [name.replace("$", r"\$") for name in numbered]


def figure_title(series: Sequence[Series]) -> str:
    """Scenario, setting and model where all series share them, whether all are on dev, and the number of seeds."""
    runs = [run for each in series for run in each.row.runs]
    results = [run.result for run in runs]
    shared = [name for key in ("scenario", "setting", "model") for name in [_shared(results, key)] if name]
    shared += ["on dev"] if {run.config.get("eval_split") for run in runs} == {"dev"} else []
    counts = sorted({len(each.row.runs) for each in series})
    seeds = (
        f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seed{'s' if counts[0] > 1 else ''}"
    )
    return figure_names([", ".join([*shared, seeds])], 90)[0]


def cell_name(series: Sequence[Series]) -> str:
    """What a cell of the matrices is called: "accuracy", another measure, or "each task's measure"."""
    measures = {str(run.result.get("measure", ACCURACY)) for each in series for run in each.row.runs}
    return measures.pop().replace("_", " ") if len(measures) == 1 and "mixed" not in measures else "each task's measure"


def cell_unit(series: Sequence[Series]) -> str:
    """In what a cell is given."""
    return "fraction correct" if cell_name(series) == ACCURACY else "0 to 1"


def _shared(results: Sequence[dict[str, Any]], key: str) -> str:
    values = {str(result[key]) for result in results}
    return "" if len(values) > 1 else f"{values.pop()}{' setting' if key == 'setting' else ''}"


def _full_name(table: Table, row: TableRow, tables: Sequence[Table]) -> str:
    keys = ("scenario", "setting", "model", "split")
    parts = [getattr(table, key) for key in keys if len({getattr(each, key) for each in tables}) > 1]
    return ", ".join([row.label, *parts])


def _series(name: str, row: TableRow) -> Series:
    matrices = [run.result["accuracy_matrix"] for run in row.runs]
    names = row.runs[0].result["tasks"]
    tasks = tuple(names) if "tasks" in row.settings else tuple(str(i + 1) for i in range(len(names)))
    cells = [
        [mean_and_spread([matrix[i][j] for matrix in matrices]) for j in range(len(tasks))]
        for i in range(len(tasks) + 1)
    ]
    return Series(
        name, row, tasks, [[mean for mean, _ in line] for line in cells], [[std for _, std in line] for line in cells]
    )


def mean_and_spread(values: list[float | None]) -> tuple[float, float]:
    """Mean and sample standard deviation over seeds: nan where a value is missing, or, the second, of one."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return nan, nan
    mean, std = mean_and_std(known)
    return mean, nan if std is None else std
