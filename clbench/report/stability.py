"""The figure of what happens inside tasks: accuracy against steps, the switches from task to task marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

from clbench.errors import InputError
from clbench.report.curves import LEGEND, MOST_TOGETHER
from clbench.report.plot_series import (
    GREY,
    LONGEST_TASK_NAME,
    Series,
    cell_name,
    cell_unit,
    collect,
    figure_names,
    figure_title,
    require_one_sequence,
)
from clbench.report.plot_styles import Style, series_styles
from clbench.results import Run, Stage, read_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TASKS = 12  # panels below each other


@dataclass(frozen=True)
class Way:
    """The mean accuracy of a series on each task at each step, by the task's number, and the steps of its switches."""

    series: Series
    points: list[tuple[list[int], list[float]]]
    switches: list[int]


def stability_figure(runs: Sequence[Run]) -> Figure:
    """A panel a task: its accuracy against optimizer steps since it began to be learned, one line a strategy.

    Lines are means over seeds, grey verticals the ends of tasks. Runs without measures inside tasks are left out;
    InputError where none has any, for runs of several scenarios or task sequences, or for too many strategies or tasks.
    """
    from matplotlib.figure import Figure

    measured = [run for run in runs if "curve_sha256" in run.result]
    if not measured:
        raise InputError("no run was measured inside its tasks; make one with: clbench run --evaluate-every N")
    series = collect(measured)
    tasks = require_one_sequence(series, measured)
    for what, count, most in (("strategies", len(series), MOST_TOGETHER), ("tasks", len(tasks), MOST_TASKS)):
        if count > most:
            raise InputError(f"{count} {what} in one plot; allowed: {most}; give the folders of fewer runs")
    ways = [_way(each) for each in series]
    styles = series_styles([each.row.strategy for each in series])
    figure = Figure(figsize=(8.0, 1.5 * len(tasks) + 1.1), layout="constrained")
    axes = figure.subplots(len(tasks), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for number, (axis, name) in enumerate(zip(axes, figure_names(tasks, LONGEST_TASK_NAME), strict=True)):
        for way, style in zip(ways, styles, strict=True):
            _draw_way(axis, way, number, style)
        axis.set_title(name if name == str(number + 1) else f"task {number + 1}: {name}", fontsize=9, loc="left")
    axes[-1].set_xlabel("optimizer steps", fontsize=8)
    figure.suptitle(figure_title(series), fontsize=9)
    figure.supylabel(f"{cell_name(series)} ({cell_unit(series)})", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, **LEGEND)
    return figure


def _way(series: Series) -> Way:
    """The means over the runs of a series, at the steps that all of them have."""
    curves = [read_curve(run) for run in series.row.runs]
    points = []
    for number in range(len(series.tasks)):
        known = [_by_step(run, stages, number) for run, stages in zip(series.row.runs, curves, strict=True)]
        steps = sorted(set.intersection(*(set(each) for each in known)))
        points.append((steps, [fsum(each[step] for each in known) / len(known) for step in steps]))
    return Way(series, points, [stage.steps[-1] for stage in curves[0]])


def _by_step(run: Run, stages: Sequence[Stage], number: int) -> dict[int, float]:
    """A run's measures of its task of that number, by the step."""
    task = run.result["tasks"][number]
    pairs = [pair for stage in stages for pair in zip(stage.steps, stage.measures.get(task, ()), strict=False)]
    return dict(pairs)


def _draw_way(axis: Axes, way: Way, task: int, style: Style) -> None:
    steps, means = way.points[task]
    axis.plot(
        steps,
        means,
        color=style.colour,
        linestyle=style.dashes,
        linewidth=1.2,
        marker=style.marker,
        markersize=2.5,
        label=way.series.name,
    )
    for step in way.switches:
        axis.axvline(step, color=GREY, linewidth=0.7, zorder=0)
    axis.set_ylim(0, 1)
    axis.tick_params(labelsize=7.5)
    axis.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
