"""Where to put the names of marked points so that they hide little and none is taken for another's: geometry only.

All lengths are in one unit, for example pixels; a box is (left, bottom, right, top).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, hypot, pi, sin
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
Spot = tuple[float, float]

DISTANCES = (0.4, 1.2, 2.2, 3.4, 4.8, 6.4)  # from a marker's edge at which its name is tried, in heights of the name
ANGLES = 16
SWEEPS = 3
PADDING = 0.15  # free space around a name, in its heights
NEAR = 1.0  # closer than its own marker plus so many heights, another marker could be taken for the named one
AMBIGUOUS = 4.0  # what that costs, in squared heights
MARK, NAME, LINE = 1.0, 6.0, 3.0  # how bad it is to hide one, by area
OUTSIDE = 10.0  # how bad it is to be cut off, by area
OWN = 0.7  # the same for a name's own marker and bars
INDIFFERENT = 0.15  # costs that differ by less, in squared heights, are equal: then the nearer place is taken


class Placement(NamedTuple):
    """Where a name is anchored, relative to its point, and whether a line leads there.

    ``horizontal`` is 1 if the name extends to the right of the anchor, -1 to the left, 0 both ways; ``vertical`` is 1
    if it extends up.
    """

    x: float
    y: float
    horizontal: int
    vertical: int
    line: bool


class _Obstacle(NamedTuple):
    owner: int
    box: Box
    weight: float


class _Obstacles(NamedTuple):
    """Many of them, as arrays: there are thousands of pairs to weigh for a crowd."""

    owners: NDArray[np.int64]
    boxes: NDArray[np.float64]
    weights: NDArray[np.float64]


def place_names(
    points: Sequence[Spot],
    reaches: Sequence[float],
    marks: Sequence[Sequence[Box]],
    names: Sequence[Spot],
    frame: Box,
) -> list[Placement]:
    """A place for each name, chosen one after another and then again given all others.

    ``points`` are the markers' centres, ``reaches`` their radii, ``marks`` the boxes that each covers (bars too),
    ``names`` the names' widths and heights, and ``frame`` what names should stay in. Names avoid marks, other names
    and their lines, and places nearer to the marker of another point.
    """
    marked = [_Obstacle(i, box, MARK) for i, boxes in enumerate(marks) for box in boxes]
    chosen: dict[int, Placement] = {}
    for i in [*range(len(points))] * SWEEPS:
        height = names[i][1]
        placed = [each for k, place in chosen.items() if k != i for each in _obstacles(k, points[k], place, names[k])]
        places = [
            _placement(reaches[i], away * height, angle, away > DISTANCES[0])
            for away in DISTANCES
            for angle in range(ANGLES)
        ]
        owners, boxes, weights = zip(*marked, *placed, strict=True)
        taken = _Obstacles(np.array(owners), np.array(boxes), np.array(weights))
        costs = [_cost(place, i, points, names[i], taken, frame) for place in places]
        chosen[i] = min(zip(costs, places, strict=True), key=lambda pair: pair[0] // (INDIFFERENT * height**2))[1]
    return [chosen[i] for i in range(len(points))]


def _obstacles(owner: int, point: Spot, place: Placement, name: Spot) -> list[_Obstacle]:
    line = [_Obstacle(owner, dot, LINE) for dot in _line(point, place, name[1])]
    return [_Obstacle(owner, _box(point, place, name), NAME), *line]


def _placement(reach: float, distance: float, angle: int, line: bool) -> Placement:
    x, y = cos(2 * pi * angle / ANGLES), sin(2 * pi * angle / ANGLES)
    return Placement((reach + distance) * x, (reach + distance) * y, _side(x), _side(y), line)


def _side(direction: float) -> int:
    return 0 if abs(direction) < 0.1 else 1 if direction > 0 else -1


def _box(point: Spot, place: Placement, name: Spot) -> Box:
    left = point[0] + place.x - name[0] * (1 - place.horizontal) / 2
    bottom = point[1] + place.y - name[1] * (1 - place.vertical) / 2
    pad = PADDING * name[1]
    return left - pad, bottom - pad, left + name[0] + pad, bottom + name[1] + pad


def _line(point: Spot, place: Placement, height: float) -> list[Box]:
    """The leading line as a row of small boxes; none if there is no line."""
    half = 0.2 * height
    count = max(2, round(hypot(place.x, place.y) / (2 * half)))
    spots = (
        [(point[0] + place.x * k / count, point[1] + place.y * k / count) for k in range(count)] if place.line else []
    )
    return [(x - half, y - half, x + half, y + half) for x, y in spots]


def _cost(place: Placement, own: int, points: Sequence[Spot], name: Spot, taken: _Obstacles, frame: Box) -> float:
    """The area of the name on other things or outside of the frame, that of its line on others, and ambiguity."""
    box = _box(points[own], place, name)
    outside = (box[2] - box[0]) * (box[3] - box[1]) - shared_area(box, frame)
    others = taken.owners != own
    hidden = float(_shared_areas([box], taken.boxes)[0] @ np.where(others, taken.weights, OWN))
    line = _line(points[own], place, name[1])
    crossed = float((_shared_areas(line, taken.boxes) @ (others * taken.weights)).sum())
    limit = _distance(points[own], box) + NEAR * name[1]
    rivals = sum(k != own and _distance(point, box) < limit for k, point in enumerate(points))
    return OUTSIDE * outside + hidden + crossed + AMBIGUOUS * name[1] ** 2 * rivals


def _shared_areas(boxes: Sequence[Box], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The area that each of ``boxes`` (rows) shares with each of ``others`` (columns)."""
    mine = np.array(boxes).reshape(-1, 1, 4)
    sides = np.minimum(mine[..., 2:], others[:, 2:]) - np.maximum(mine[..., :2], others[:, :2])
    areas: NDArray[np.float64] = np.maximum(sides, 0.0).prod(axis=-1)
    return areas


def shared_area(first: Box, second: Box) -> float:
    """The area that two boxes share."""
    return float(_shared_areas([first], np.array([second]))[0, 0])


def _distance(point: Spot, box: Box) -> float:
    x, y = point
    return hypot(max(box[0] - x, 0.0, x - box[2]), max(box[1] - y, 0.0, y - box[3]))
