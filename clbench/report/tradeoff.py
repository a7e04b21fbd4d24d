"""The figure of what strategies learn against what they forget, with their cost as size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from clbench.errors import InputError
from clbench.report.plot_labels import Box, Placement, place_names
from clbench.report.plot_series import (
    GREY,
    Series,
    cell_unit,
    collect,
    figure_title,
    refuse_too_many,
    require_one_sequence,
)
from clbench.report.plot_styles import style_of
from clbench.results import Run
from clbench.text import TIMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AREA = 50.0  # points squared of a marker for overhead 1
FONT_SIZE = 8
ROOMY = 15  # with more points the figure's area grows, so that their names do not touch
SMALLEST, LARGEST = 0.2, 12.0  # overheads beyond are drawn as these


class Point(NamedTuple):
    """Mean and sample standard deviation of a series (0 for one seed) and its overhead, None if unknown."""

    name: str
    strategy: str
    forgetting: float
    learning: float
    forgetting_std: float
    learning_std: float
    overhead: float | None


def tradeoff_figure(runs: Sequence[Run]) -> Figure:
    """Learning accuracy (up is better) over forgetting (left is better), one marker a strategy.

    Marks are means over seeds with bars of ± one sample standard deviation; a marker's area is proportional to the
    overhead, wall time against ``naive``, and hollow where that is unknown. InputError for runs of several scenarios or
    task sequences, or if no run has both metrics.
    """
    from matplotlib.figure import Figure

    series = collect(runs)
    require_one_sequence(series, runs)
    refuse_too_many(series)
    points = _points(series)
    if not points:
        raise InputError("no run has both learning accuracy and forgetting (which needs two tasks); nothing to plot")
    scale = max(1.0, (len(points) / ROOMY) ** 0.5)
    figure = Figure(figsize=(7.2 * scale, 5.0 * scale), layout="constrained")
    axis = figure.subplots()
    colours = [style_of(point.strategy).colour for point in points]
    for point, colour in zip(points, colours, strict=True):
        _draw_point(axis, point, colour)
    axis.margins(0.16, 0.14)
    axis.set_xlabel("forgetting (fraction of accuracy lost; left is better)", fontsize=9)
    axis.set_ylabel(f"learning accuracy ({cell_unit(series)}; up is better)", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(color="#EAEAEA", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.axvline(0, color=GREY, linewidth=0.8, zorder=0.5)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    _size_legend(figure, [point.overhead for point in points])
    shown = {point.name for point in points}
    left_out = [each.name for each in series if each.name not in shown]
    missing = f"\nnot shown, as a metric is unmeasured: {', '.join(left_out)}" if left_out else ""
    figure.suptitle(figure_title(series) + missing, fontsize=9)
    _write_names(figure, axis, points, colours)
    return figure


def _points(series: Sequence[Series]) -> list[Point]:
    points = []
    for each in series:
        x, y, overhead = (each.row.cells[name] for name in ("forgetting", "learning_accuracy", "overhead"))
        if x.mean is not None and y.mean is not None:
            points.append(
                Point(each.name, each.row.strategy, x.mean, y.mean, x.std or 0.0, y.std or 0.0, overhead.mean)
            )
    return points


def _area(overhead: float | None) -> float:
    return AREA * (1.0 if overhead is None else min(max(overhead, SMALLEST), LARGEST))


def _draw_point(axis: Axes, point: Point, colour: str) -> None:
    x, y = point.forgetting, point.learning
    axis.errorbar(
        x, y, point.learning_std, point.forgetting_std, "none", ecolor=colour, elinewidth=0.9, alpha=0.7, zorder=2
    )
    face = "white" if point.overhead is None else colour
    axis.scatter(x, y, s=_area(point.overhead), facecolor=face, edgecolor=colour, linewidth=1.2, alpha=0.85, zorder=3)


def _size_legend(figure: Figure, overheads: Sequence[float | None]) -> None:
    from matplotlib.lines import Line2D

    known = [overhead for overhead in overheads if overhead is not None]
    sizes = [size for size in (0.5, 1.0, 2.0, 4.0, 8.0) if known and min(known) / 1.5 <= size <= max(known) * 1.5]
    style: dict[str, Any] = {"marker": "o", "linestyle": "none", "markeredgecolor": GREY}
    handles = [
        Line2D([], [], label=f"{size:g}{TIMES}", markersize=_area(size) ** 0.5, markerfacecolor=GREY, **style)
        for size in sizes
    ]
    if len(known) < len(overheads):
        handles.append(Line2D([], [], label="unknown", markersize=_area(None) ** 0.5, markerfacecolor="white", **style))
    title = "overhead: wall time against naive"
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), title=title, fontsize=8, frameon=False
    )
    legend.get_title().set_fontsize(8)


def _write_names(figure: Figure, axis: Axes, points: Sequence[Point], colours: Sequence[str]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()  # fixes the layout, so that everything can be measured in pixels
    figure.set_layout_engine("none")
    pixels = figure.dpi / 72
    centres = [_pixel(axis, point.forgetting, point.learning) for point in points]
    reaches = [_area(point.overhead) ** 0.5 / 2 * pixels for point in points]
    marks = [_marks(axis, point, reach) for point, reach in zip(points, reaches, strict=True)]
    sizes = [_text_size(figure, canvas.get_renderer(), point.name) for point in points]
    frame = axis.get_window_extent()
    places = place_names(centres, reaches, marks, sizes, (frame.x0, frame.y0, frame.x1, frame.y1))
    for point, colour, place in zip(points, colours, places, strict=True):
        axis.annotate(
            point.name,
            (point.forgetting, point.learning),
            (place.x / pixels, place.y / pixels),
            textcoords="offset points",
            ha=("center", "left", "right")[place.horizontal],
            va=("center", "bottom", "top")[place.vertical],
            fontsize=FONT_SIZE,
            arrowprops=_arrow(place, colour) if place.line else None,
        )


def _arrow(place: Placement, colour: str) -> dict[str, Any]:
    end = ((1 - place.horizontal) / 2, (1 - place.vertical) / 2)
    return {"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0, "relpos": end}


def _pixel(axis: Axes, x: float, y: float) -> tuple[float, float]:
    right, up = axis.transData.transform((x, y))
    return float(right), float(up)


def _text_size(figure: Figure, renderer: Any, text: str) -> tuple[float, float]:
    probe = figure.text(0, 0, text, fontsize=FONT_SIZE)
    extent = probe.get_window_extent(renderer)
    probe.remove()
    return extent.width, extent.height


def _marks(axis: Axes, point: Point, reach: float) -> list[Box]:
    """What a marker and its two bars cover, in pixels."""
    x, y = _pixel(axis, point.forgetting, point.learning)
    right, top = _pixel(axis, point.forgetting + point.forgetting_std, point.learning + point.learning_std)
    halves = [(reach, reach), (right - x, 2.0), (2.0, top - y)]
    return [(x - width, y - height, x + width, y + height) for width, height in halves]
