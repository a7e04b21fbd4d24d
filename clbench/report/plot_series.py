"""What plots share: runs as named series with a mean matrix, names that fit, styles that differ in print too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, nan, sqrt
from typing import Any

from clbench.errors import InputError
from clbench.report.comparison import Table, compare
from clbench.report.rows import TableRow
from clbench.results import Run
from clbench.text import clean, shorten

# Okabe & Ito (2008), "Color Universal Design": told apart with any colour vision. Grey and wine stand for its yellow,
# which is too light for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A8A", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", "--", "-.", (0, (1, 1)))
LONGEST_NAME = 34


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


@dataclass(frozen=True)
class Style:
    """How a series is drawn everywhere in a figure."""

    colour: str
    marker: str
    dashes: str | tuple[int, tuple[int, ...]]


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


def styles(count: int) -> list[Style]:
    """``count`` styles; markers and dashes go round at another pace than colours, so that 180 differ."""
    return [Style(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)]) for i in range(count)]


def figure_names(names: Sequence[str], limit: int) -> list[str]:
    """``names`` for matplotlib: printable, about ``limit`` characters, all different, dollar signs not mathematics."""
    short = [shorten(clean(name), limit) for name in names]
    numbered = [
        f"{name} ({short[: i + 1].count(name)})" if short.count(name) > 1 else name for i, name in enumerate(short)
    ]
    return [name.replace("$", r"\$") for name in numbered]


def figure_title(series: Sequence[Series]) -> str:
    """Scenario, setting and model where all series share them, and the number of seeds."""
    results = [run.result for each in series for run in each.row.runs]
    shared = [name for key in ("scenario", "setting", "model") for name in [_shared(results, key)] if name]
    counts = sorted({len(each.row.runs) for each in series})
    seeds = (
        f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seed{'s' if counts[0] > 1 else ''}"
    )
    return figure_names([", ".join([*shared, seeds])], 90)[0]


def _shared(results: Sequence[dict[str, Any]], key: str) -> str:
    values = {str(result[key]) for result in results}
    return "" if len(values) > 1 else f"{values.pop()}{' setting' if key == 'setting' else ''}"


def _full_name(table: Table, row: TableRow, tables: Sequence[Table]) -> str:
    parts = [
        getattr(table, key) for key in ("scenario", "setting", "model") if len({getattr(t, key) for t in tables}) > 1
    ]
    return ", ".join([row.label, *parts])


def _series(name: str, row: TableRow) -> Series:
    matrices = [run.result["accuracy_matrix"] for run in row.runs]
    names = row.runs[0].result["tasks"]
    tasks = tuple(names) if "tasks" in row.settings else tuple(str(i + 1) for i in range(len(names)))
    cells = [
        [_mean_and_std([matrix[i][j] for matrix in matrices]) for j in range(len(tasks))] for i in range(len(tasks) + 1)
    ]
    return Series(
        name, row, tasks, [[mean for mean, _ in line] for line in cells], [[std for _, std in line] for line in cells]
    )


def _mean_and_std(values: list[float | None]) -> tuple[float, float]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return nan, nan
    mean = fsum(known) / len(known)
    return mean, sqrt(fsum((value - mean) ** 2 for value in known) / (len(known) - 1)) if len(known) > 1 else nan
