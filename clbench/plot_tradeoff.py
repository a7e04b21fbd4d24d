"""The figure of what strategies learn against what they forget, with their cost as size."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, hypot, pi, sin
from typing import TYPE_CHECKING, Any, NamedTuple

from clbench.errors import InputError
from clbench.plot_series import Series, collect, figure_title, require_one_sequence, styles
from clbench.results import Run
from clbench.text import TIMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

AREA = 50.0  # points squared of a marker for overhead 1
DISTANCES = (3, 10, 18, 28, 40, 55)  # points from a marker's edge at which its name is tried
ANGLES = 16
SMALLEST, LARGEST = 0.2, 12.0  # overheads beyond are drawn as these
GREY = "#767676"


class Point(NamedTuple):
    """Mean and sample standard deviation of a series (0 for one seed) and its overhead, None if unknown."""

    name: str
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
    points = _points(series)
    if not points:
        raise InputError("no run has both learning accuracy and forgetting (which needs two tasks); nothing to plot")
    figure = Figure(figsize=(7.2, 5.0), layout="constrained")
    axis = figure.subplots()
    colours = [style.colour for style in styles(len(points))]
    for point, colour in zip(points, colours, strict=True):
        _draw_point(axis, point, colour)
    axis.margins(0.16, 0.14)
    axis.set_xlabel("forgetting (fraction of accuracy lost; left is better)", fontsize=9)
    axis.set_ylabel("learning accuracy (fraction correct; up is better)", fontsize=9)
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
    _place_labels(figure, axis, points, colours)
    return figure


def _points(series: Sequence[Series]) -> list[Point]:
    points = []
    for each in series:
        x, y, overhead = (each.row.cells[name] for name in ("forgetting", "learning_accuracy", "overhead"))
        if x.mean is not None and y.mean is not None:
            points.append(Point(each.name, x.mean, y.mean, x.std or 0.0, y.std or 0.0, overhead.mean))
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


def _place_labels(figure: Figure, axis: Axes, points: Sequence[Point], colours: Sequence[str]) -> None:
    """Put each name where it hides least and is nearest to its own marker; a line joins them if they are apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()  # fixes the layout, so that the labels can be measured
    figure.set_layout_engine("none")
    renderer = canvas.get_renderer()
    centres = [axis.transData.transform((point.forgetting, point.learning)) for point in points]
    taken = [box for point in points for box in _marker_boxes(axis, point, figure.dpi / 72)]
    for i, point in enumerate(points):
        labels = [_annotate(axis, point, colours[i], away, angle) for away in DISTANCES for angle in range(ANGLES)]
        boxes = [_text_box(label, renderer) for label in labels]
        costs = [_cost(box, taken, axis.get_window_extent(), centres, i) for box in boxes]
        chosen = min(range(len(labels)), key=lambda k: (costs[k] // 20, k))
        taken.append(boxes[chosen])
        for k, label in enumerate(labels):
            if k != chosen:
                label.remove()


def _text_box(label: Annotation, renderer: Any) -> Bbox:
    from matplotlib.text import Text

    label.update_positions(renderer)
    return Text.get_window_extent(label, renderer).padded(2)  # without the line, which an Annotation includes


def _marker_boxes(axis: Axes, point: Point, pixels: float) -> list[Bbox]:
    """What a marker and its two bars cover, in pixels."""
    from matplotlib.transforms import Bbox

    x, y = axis.transData.transform((point.forgetting, point.learning))
    right, top = axis.transData.transform(
        (point.forgetting + point.forgetting_std, point.learning + point.learning_std)
    )
    radius = _area(point.overhead) ** 0.5 / 2 * pixels
    halves = [(radius, radius), (right - x, 2.0), (2.0, top - y)]
    return [Bbox.from_extents(x - w, y - h, x + w, y + h) for w, h in halves]


def _annotate(axis: Axes, point: Point, colour: str, distance: float, angle: int) -> Annotation:
    x, y = cos(2 * pi * angle / ANGLES), sin(2 * pi * angle / ANGLES)
    reach = _area(point.overhead) ** 0.5 / 2 + distance
    return axis.annotate(
        point.name,
        (point.forgetting, point.learning),
        (reach * x, reach * y),
        textcoords="offset points",
        ha="left" if x > 0.1 else "right" if x < -0.1 else "center",
        va="bottom" if y > 0.1 else "top" if y < -0.1 else "center",
        fontsize=8,
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 0}
        if distance > DISTANCES[0]
        else None,
    )


def _cost(box: Bbox, taken: Sequence[Bbox], frame: Bbox, centres: Sequence[Any], own: int) -> float:
    """Pixels squared of ``box`` on other things or outside of the axes, and more where another marker is as near."""
    hidden = sum(_shared(box, other) for other in taken) + box.width * box.height - _shared(box, frame)
    nearest = _distance(centres[own], box)
    return hidden + sum(400.0 for k, centre in enumerate(centres) if k != own and _distance(centre, box) < nearest + 12)


def _shared(first: Bbox, second: Bbox) -> float:
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return float(max(width, 0.0) * max(height, 0.0))


def _distance(point: Any, box: Bbox) -> float:
    x, y = point
    return hypot(max(box.x0 - x, 0.0, x - box.x1), max(box.y0 - y, 0.0, y - box.y1))
