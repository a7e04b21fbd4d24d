"""The figure of how the accuracy on each task goes on while others are learned."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, fsum, isnan
from typing import TYPE_CHECKING, Any, NamedTuple

from clbench.report.plot_series import (
    GREY,
    LONGEST_TASK_NAME,
    Series,
    cell_name,
    cell_unit,
    collect,
    figure_names,
    figure_title,
    refuse_too_many,
    require_one_sequence,
)
from clbench.report.plot_styles import Style, series_styles
from clbench.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

LEGEND: dict[str, Any] = {"fontsize": 7.5, "frameon": False, "handlelength": 3.2}
MOST_TOGETHER = 8  # series in a panel that can be told apart
MOST_TASKS = 12  # panels in a row of several
MOST_PANELS = 60
PALE = "#D8D8D8"  # series of which another row of panels is


class Line(NamedTuple):
    """A series and how it is drawn."""

    series: Series
    style: Style


def curves_figure(runs: Sequence[Run]) -> Figure:
    """Accuracy on each task (one panel each) before training and after each task, one line a strategy.

    Lines are means over seeds, bands ± one sample standard deviation; thin and pale before the task is learned, at the
    vertical line. More than MOST_TOGETHER strategies are split, the best first, into rows of panels, each with the
    others in grey; of more than MOST_TASKS tasks so many are shown, evenly spaced. InputError for runs of several
    scenarios or task sequences, or for too many strategies.
    """
    from matplotlib.figure import Figure

    series = collect(runs)
    tasks = figure_names(require_one_sequence(series, runs), LONGEST_TASK_NAME)
    refuse_too_many(series)
    lines = [Line(*pair) for pair in zip(series, series_styles([each.row.strategy for each in series]), strict=True)]
    figure = Figure(layout="constrained")
    if len(lines) <= MOST_TOGETHER:
        shown = _evenly(len(tasks), MOST_TASKS)
        _draw_grid(figure, lines, tasks, shown)
    else:
        groups = ceil(len(lines) / MOST_TOGETHER)
        shown = _evenly(len(tasks), min(MOST_TASKS, MOST_PANELS // groups))
        _draw_rows(figure, lines, tasks, shown)
    some = f"\n{len(shown)} of {len(tasks)} tasks, evenly spaced" if len(shown) < len(tasks) else ""
    figure.suptitle(figure_title(series) + some, fontsize=9)
    figure.supylabel(f"{cell_name(series)} ({cell_unit(series)})", fontsize=9)
    return figure


def _evenly(count: int, most: int) -> list[int]:
    """All of ``count`` positions, or ``most`` of them from the first to the last."""
    return list(range(count)) if count <= most else [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _draw_grid(figure: Figure, lines: Sequence[Line], tasks: list[str], shown: Sequence[int]) -> None:
    """All lines in each panel, and one legend, in a free panel or below."""
    across = min(len(shown), 3 if len(shown) <= 9 else ceil(len(shown) ** 0.5))
    down = ceil(len(shown) / across)
    free = down * across > len(shown)
    figure.set_size_inches(
        max(4.0, 2.7 * across + 0.4), 2.3 * down + 0.4 + (0 if free else 0.2 * ceil((len(lines) + 2) / across))
    )
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    for axis, task in zip(axes.flat, shown, strict=False):
        for line in lines:
            _draw_curve(axis, line, task)
        _finish_panel(axis, tasks, task)
    handles = [*axes.flat[0].get_legend_handles_labels()[0], *_explanations()]
    if free:
        axes.flat[len(shown)].legend(handles=handles, loc="center", **LEGEND)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=across, **LEGEND)


def _draw_rows(figure: Figure, lines: Sequence[Line], tasks: list[str], shown: Sequence[int]) -> None:
    """A row of panels for each few lines, the best at the end first, with its legend; the others are grey there."""
    ordered = sorted(lines, key=lambda line: -_final_average(line.series))
    down = ceil(len(ordered) / MOST_TOGETHER)
    size = ceil(len(ordered) / down)
    figure.set_size_inches(2.3 * len(shown) + 2.6, 2.2 * down + 0.6)
    widths = [*[2.3] * len(shown), 2.2]
    axes = figure.subplots(down, len(shown) + 1, squeeze=False, width_ratios=widths)
    for number, row in enumerate(axes):
        own = ordered[number * size : (number + 1) * size]
        for axis, task in zip(row[:-1], shown, strict=True):
            for line in ordered:
                if line not in own:
                    axis.plot(*_after(line.series, task), color=PALE, linewidth=0.8, zorder=1)
            for line in own:
                _draw_curve(axis, line, task)
            _finish_panel(axis, tasks, task)
        row[-1].set_axis_off()
        title = f"{number * size + 1} to {number * size + len(own)} of {len(ordered)}\nby average accuracy at the end"
        handles = [*row[0].get_legend_handles_labels()[0], *(_explanations(others=True) if number == 0 else [])]
        legend = row[-1].legend(handles=handles, loc="center left", title=title, alignment="left", **LEGEND)
        legend.get_title().set_fontsize(7.5)


def _final_average(series: Series) -> float:
    """Mean over the tasks at the end, below all others where one is unmeasured."""
    average = fsum(series.mean[-1]) / len(series.mean[-1])
    return -1.0 if isnan(average) else average


def _explanations(others: bool = False) -> list[Line2D]:
    from matplotlib.lines import Line2D

    learned = Line2D(
        [], [], color=GREY, linewidth=0.8, marker="|", markersize=9, linestyle="none", label="task learned"
    )
    before = Line2D([], [], color=GREY, linewidth=0.7, alpha=0.5, label="before it is learned")
    return [learned, before, *([Line2D([], [], color=PALE, linewidth=0.8, label="the others")] if others else [])]


def _after(series: Series, task: int) -> tuple[range, list[float]]:
    """Numbers of tasks learned and mean accuracies on ``task`` from where it is learned."""
    return range(task + 1, len(series.mean)), [row[task] for row in series.mean[task + 1 :]]


def _draw_curve(axis: Axes, line: Line, task: int) -> None:
    series, style = line
    learned = task + 1
    spreads = [row[task] for row in series.std[learned:]]
    after, means = _after(series, task)
    before = [row[task] for row in series.mean[: learned + 1]]
    axis.plot(range(learned + 1), before, color=style.colour, linewidth=0.7, alpha=0.4)
    axis.plot(
        after,
        means,
        color=style.colour,
        linestyle=style.dashes,
        linewidth=1.3,
        marker=style.marker,
        markersize=4,
        markevery=ceil(len(series.mean) / 24),
        label=series.name,
        zorder=2.5,
    )
    if not all(map(isnan, spreads)):
        low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
        high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
        axis.fill_between(after, low, high, color=style.colour, alpha=0.18, linewidth=0)


def _finish_panel(axis: Axes, tasks: list[str], task: int) -> None:
    axis.axvline(task + 1, color=GREY, linewidth=0.8, zorder=0)
    number, name = str(task + 1), tasks[task]
    axis.set_title(f"task {number}" if name == number else f"task {number}: {name}", fontsize=9)
    axis.set_xlabel("tasks learned", fontsize=8)
    axis.set_ylim(0, 1)
    axis.set_xlim(-0.25, len(tasks) + 0.25)
    axis.set_xticks(range(0, len(tasks) + 1, _tick_step(len(tasks))))
    axis.tick_params(labelsize=7.5, labelbottom=True, labelleft=True)
    axis.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _tick_step(count: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that gives at most ten steps."""
    steps = [int(f"{digit}{'0' * zeros}") for zeros in range(len(str(count))) for digit in "125"]
    return min(step for step in steps if 10 * step >= count)
