"""Figures of runs: accuracy matrices, learning curves, and what is learned against what is forgotten."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from math import ceil, isnan, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.errors import InputError
from clbench.files import write_atomic
from clbench.report.plot_series import Series, Style, collect, figure_names, figure_title, require_one_sequence, styles
from clbench.report.tradeoff import tradeoff_figure
from clbench.results import Run
from clbench.text import DASH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D

SUFFIXES = (".png", ".pdf", ".svg")
DPI = 200
GREY = "#767676"
LONGEST_TASK_NAME = 16
CELL = 0.38  # inches
LEGEND: dict[str, Any] = {"fontsize": 7.5, "frameon": False, "handlelength": 3.2}
MOST_IN_PANEL = 11  # names that a legend in a free panel has room for


def plot_matrix(runs: Sequence[Run], path: str | Path) -> None:
    """Save ``matrix_figure`` as PNG, PDF or SVG; InputError for another suffix or a path that cannot be written."""
    _draw(matrix_figure, runs, _checked(path))


def plot_curves(runs: Sequence[Run], path: str | Path) -> None:
    """Save ``curves_figure`` as PNG, PDF or SVG; InputError for another suffix or a path that cannot be written."""
    _draw(curves_figure, runs, _checked(path))


def plot_tradeoff(runs: Sequence[Run], path: str | Path) -> None:
    """Save ``tradeoff_figure`` as PNG, PDF or SVG; InputError for another suffix or a path that cannot be written."""
    _draw(tradeoff_figure, runs, _checked(path))


def matrix_figure(runs: Sequence[Run]) -> Figure:
    """Accuracy on each task (columns) before training and after each task (rows), one panel a strategy.

    Cells are means over seeds (fractions), hatched where unmeasured; below the white line are tasks already learned.
    """
    from matplotlib.figure import Figure

    series = collect(runs)
    across = ceil(sqrt(len(series)))
    down = ceil(len(series) / across)
    columns = max(len(each.tasks) for each in series)
    size = (max(4.2, across * (CELL * columns + 0.4) + 1.9), max(3.2, down * (CELL * (columns + 1) + 0.35) + 1.2))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat[len(series) :]:
        axis.set_axis_off()
    panels = list(axes.flat[: len(series)])
    same = len({each.tasks for each in series}) == 1  # only then do the names of the outer panels hold for all
    images = [
        _draw_matrix(axis, each, not same or i % across == 0, not same or i + across >= len(series))
        for i, (axis, each) in enumerate(zip(panels, series, strict=True))
    ]
    bar = figure.colorbar(images[0], ax=panels, shrink=0.8, aspect=30)
    bar.set_label("accuracy (fraction correct)", fontsize=9)
    bar.ax.tick_params(labelsize=7.5)
    figure.suptitle(figure_title(series), fontsize=9)
    figure.supxlabel("accuracy on task (below the white line: already learned)", fontsize=9)
    return figure


def _draw_matrix(axis: Axes, series: Series, rows_named: bool, columns_named: bool) -> AxesImage:
    tasks = figure_names(series.tasks, LONGEST_TASK_NAME)
    count = len(tasks)
    axis.patch.set(facecolor="white", hatch="////", edgecolor="#BBBBBB")
    image = axis.imshow(series.mean, cmap="viridis", vmin=0, vmax=1, aspect="equal")
    for i, row in enumerate(series.mean):
        for j, value in enumerate(row):
            text, colour = (DASH, "black") if isnan(value) else (f"{value:.2f}", _ink(image.cmap(value)))
            axis.text(j, i, text, ha="center", va="center", fontsize=7.5, color=colour)
    corners = [point for j in range(count) for point in ((j - 0.5, j + 0.5), (j + 0.5, j + 0.5))]
    axis.plot(*zip(*corners, strict=True), color="white", linewidth=1.8)
    axis.set_xlim(-0.5, count - 0.5)
    axis.set_xticks(range(count), tasks, rotation=45, ha="right", rotation_mode="anchor", fontsize=7.5)
    axis.set_yticks(range(count + 1), ["(nothing)", *tasks], fontsize=7.5)
    axis.tick_params(length=0, labelleft=rows_named, labelbottom=columns_named)
    axis.set_title(series.name, fontsize=8)
    if rows_named:
        axis.set_ylabel("after learning", fontsize=9)
    return image


def _ink(background: Sequence[float]) -> str:
    """Black or white, whichever has more contrast by WCAG 2 with an RGB colour of fractions."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in background[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"


def curves_figure(runs: Sequence[Run]) -> Figure:
    """Accuracy on each task (one panel each) before training and after each task, one line a strategy.

    Lines are means over seeds, bands ± one sample standard deviation; thin and pale before the task is learned, at the
    vertical line. InputError for runs of several scenarios or task sequences.
    """
    from matplotlib.figure import Figure

    series = collect(runs)
    tasks = figure_names(require_one_sequence(series, runs), LONGEST_TASK_NAME)
    across = min(len(tasks), 3 if len(tasks) <= 9 else ceil(sqrt(len(tasks))))
    down = ceil(len(tasks) / across)
    in_grid = down * across > len(tasks) and len(series) <= MOST_IN_PANEL
    height = 2.3 * down + 0.4 + (0 if in_grid else 0.2 * ceil((len(series) + 2) / across))
    figure = Figure(figsize=(max(4.0, 2.7 * across + 0.4), height), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[len(tasks) :]:
        axis.set_axis_off()
    for j, axis in enumerate(axes.flat[: len(tasks)]):
        for each, style in zip(series, styles(len(series)), strict=True):
            _draw_curve(axis, each, j, style)
        _finish_curves(axis, tasks, j)
    figure.suptitle(figure_title(series), fontsize=9)
    figure.supylabel("accuracy (fraction correct)", fontsize=9)
    handles = [*axes.flat[0].get_legend_handles_labels()[0], *_explanations()]
    if in_grid:
        axes.flat[len(tasks)].legend(handles=handles, loc="center", **LEGEND)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=across, **LEGEND)
    return figure


def _explanations() -> list[Line2D]:
    from matplotlib.lines import Line2D

    learned = Line2D(
        [], [], color=GREY, linewidth=0.8, marker="|", markersize=9, linestyle="none", label="task learned"
    )
    return [learned, Line2D([], [], color=GREY, linewidth=0.7, alpha=0.5, label="before it is learned")]


def _draw_curve(axis: Axes, series: Series, task: int, style: Style) -> None:
    means = [row[task] for row in series.mean]
    spreads = [row[task] for row in series.std]
    learned = task + 1
    before, after = range(learned + 1), range(learned, len(means))
    axis.plot(before, means[: learned + 1], color=style.colour, linewidth=0.7, alpha=0.4)
    axis.plot(
        after,
        means[learned:],
        color=style.colour,
        linestyle=style.dashes,
        linewidth=1.3,
        marker=style.marker,
        markersize=4,
        label=series.name,
    )
    if not all(map(isnan, spreads)):
        low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
        high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
        axis.fill_between(after, low[learned:], high[learned:], color=style.colour, alpha=0.18, linewidth=0)


def _finish_curves(axis: Axes, tasks: list[str], task: int) -> None:
    axis.axvline(task + 1, color=GREY, linewidth=0.8, zorder=0)
    number, name = str(task + 1), tasks[task]
    axis.set_title(f"task {number}" if name == number else f"task {number}: {name}", fontsize=9)
    axis.set_xlabel("tasks learned", fontsize=8)
    axis.set_ylim(0, 1)
    axis.set_xlim(-0.25, len(tasks) + 0.25)
    axis.set_xticks(range(0, len(tasks) + 1, ceil(len(tasks) / 10)))
    axis.tick_params(labelsize=7.5, labelbottom=True, labelleft=True)
    axis.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{str(path)!r} names no kind of picture; allowed suffixes: {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; give a file to write with -o")
    if not path.parent.is_dir():
        raise InputError(f"{str(path)!r}: the folder {str(path.parent)!r} does not exist")
    return path


def _draw(make: Callable[[Sequence[Run]], Figure], runs: Sequence[Run], path: Path) -> None:
    """Make the figure and write it, with matplotlib's own settings whatever the user's matplotlibrc says."""
    import matplotlib as mpl

    kind = path.suffix.lower()[1:]
    # No date in the file: the same runs give the same bytes. Type 42 fonts keep text selectable.
    metadata: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    buffer = io.BytesIO()
    own = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
    with warnings.catch_warnings(), mpl.rc_context({**own, "svg.hashsalt": "clbench", "pdf.fonttype": 42}):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the picture shows a box in its place
        make(runs).savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    try:
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be written: {error.strerror}; choose another file with -o") from error
