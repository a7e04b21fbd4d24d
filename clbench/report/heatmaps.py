"""The figure of accuracy matrices."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isnan, sqrt
from typing import TYPE_CHECKING, NamedTuple

from clbench.report.plot_series import (
    LONGEST_TASK_NAME,
    Series,
    cell_name,
    cell_unit,
    collect,
    figure_names,
    figure_title,
    refuse_too_many,
)
from clbench.results import Run
from clbench.text import DASH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

CELL = 0.38  # inches of a cell with its number
SMALLEST_WITH_NUMBER = 0.3
LARGEST_PANEL, LARGEST_FIGURE = 8.0, 36.0  # inches; where cells would need more they shrink and have no numbers
MOST_NAMES = 24  # names of tasks beside a matrix; of more, some


class Panel(NamedTuple):
    """How a matrix is drawn: whether tasks are named at its left and below, and how large a cell is, in inches."""

    rows_named: bool
    columns_named: bool
    cell: float


def matrix_figure(runs: Sequence[Run]) -> Figure:
    """Accuracy on each task (columns) before training and after each task (rows), one panel a strategy.

    Cells are means over seeds (fractions), hatched where unmeasured; below the white line are tasks already learned.
    Matrices of many tasks have no numbers and name some of them. InputError for too many strategies.
    """
    from matplotlib.figure import Figure

    series = collect(runs)
    refuse_too_many(series)
    across = ceil(sqrt(len(series)))
    down = ceil(len(series) / across)
    columns = max(len(each.tasks) for each in series)
    cell = min(CELL, LARGEST_PANEL / columns, (LARGEST_FIGURE / across - 0.4) / columns)
    size = (max(4.2, across * (cell * columns + 0.4) + 1.9), max(3.2, down * (cell * (columns + 1) + 0.35) + 1.2))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat[len(series) :]:
        axis.set_axis_off()
    panels = list(axes.flat[: len(series)])
    same = len({each.tasks for each in series}) == 1  # only then do the names of the outer panels hold for all
    images = [
        _draw_matrix(axis, each, Panel(not same or i % across == 0, not same or i + across >= len(series), cell))
        for i, (axis, each) in enumerate(zip(panels, series, strict=True))
    ]
    bar = figure.colorbar(images[0], ax=panels, shrink=0.8, aspect=30)
    bar.set_label(f"{cell_name(series)} ({cell_unit(series)})", fontsize=9)
    bar.ax.tick_params(labelsize=7.5)
    figure.suptitle(figure_title(series), fontsize=9)
    figure.supxlabel(f"{cell_name(series)} on task (below the white line: already learned)", fontsize=9)
    return figure


def _draw_matrix(axis: Axes, series: Series, panel: Panel) -> AxesImage:
    tasks = figure_names(series.tasks, LONGEST_TASK_NAME)
    count = len(tasks)
    axis.patch.set(facecolor="white", hatch="////", edgecolor="#BBBBBB")
    image = axis.imshow(series.mean, cmap="viridis", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    if panel.cell >= SMALLEST_WITH_NUMBER:
        _write_numbers(axis, series, image, 7.5 * panel.cell / CELL)
    corners = [point for j in range(count) for point in ((j - 0.5, j + 0.5), (j + 0.5, j + 0.5))]
    axis.plot(*zip(*corners, strict=True), color="white", linewidth=min(1.8, 10 * panel.cell))
    axis.set_xlim(-0.5, count - 0.5)
    named = range(0, count, ceil(count / MOST_NAMES))
    names = [tasks[i] for i in named]
    axis.set_xticks(named, names, rotation=45, ha="right", rotation_mode="anchor", fontsize=7.5)
    apart = slice(0 if count <= MOST_NAMES else 1, None)  # the first name would stand on "(nothing)"
    axis.set_yticks([0, *(i + 1 for i in named[apart])], ["(nothing)", *names[apart]], fontsize=7.5)
    axis.tick_params(length=0, labelleft=panel.rows_named, labelbottom=panel.columns_named)
    axis.set_title(series.name, fontsize=8)
    if panel.rows_named:
        axis.set_ylabel("after learning", fontsize=9)
    return image


def _write_numbers(axis: Axes, series: Series, image: AxesImage, size: float) -> None:
    for i, row in enumerate(series.mean):
        for j, value in enumerate(row):
            text, colour = (DASH, "black") if isnan(value) else (f"{value:.2f}", ink(image.cmap(value)))
            axis.text(j, i, text, ha="center", va="center", fontsize=size, color=colour)


def ink(background: Sequence[float]) -> str:
    """Black or white, whichever has more contrast by WCAG 2 with an RGB colour of fractions."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in background[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"
