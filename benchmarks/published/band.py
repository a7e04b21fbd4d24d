"""The band in which a mean of our runs is a published figure met, and on which side it lies if it is not."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.published.protocols import Figure

WIDTH = 3.0  # standard errors of the difference of the two means
ALLOWANCE = 0.005  # accuracy; rounding, and data that differ by a few images


def half_width(figure: Figure, n_ours: int) -> float:
    """3·s·√(1/n_published + 1/n_ours) + 0.005, s the standard deviation of the published runs.

    Of a tolerance, which the source gives in place of a spread, the tolerance + 0.005, however many runs ours are.
    """
    if figure.kind == "tolerance":
        return figure.spread + ALLOWANCE
    return WIDTH * figure.deviation * math.sqrt(1 / figure.n + 1 / n_ours) + ALLOWANCE


def compare(figure: Figure, accuracies: Sequence[float]) -> dict[str, Any]:
    """A figure beside the average accuracies of our runs, at least one, one a seed.

    ``ours_spread`` is their standard deviation, None of one run.
    """
    half = half_width(figure, len(accuracies))
    low, high, ours = figure.published - half, figure.published + half, statistics.fmean(accuracies)
    return {
        "name": figure.name,
        "published": figure.published,
        "spread": figure.spread,
        "spread_kind": figure.kind,
        "n": figure.n,
        "ours": ours,
        "ours_spread": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "ours_n": len(accuracies),
        "low": low,
        "high": high,
        "inside": low <= ours <= high,
        "protocol": figure.sha256,
    }


def verdict(row: Mapping[str, Any]) -> str:
    """``inside``, or on which side the mean of our runs misses the band."""
    if row["inside"]:
        return "inside"
    return "**below**" if row["ours"] < row["low"] else "**above**"
