"""The columns of a comparison: which there are, which way is better, how a mean and its spread are worked out."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, hypot, sqrt

from clbench.report.derived import DERIVED
from clbench.results import COSTS, LOWER_IS_BETTER, METRICS

DEFAULT_METRICS = (
    "average_accuracy",
    "learning_accuracy",
    "forgetting",
    "backward_transfer",
    "forward_transfer",
    "worst_retention",
)
DEFAULT_COLUMNS = (*DEFAULT_METRICS, "overhead", "stored_bytes", "trainable_parameters")
# Which of the default columns a narrow terminal shows first.
FIRST_COLUMNS = ("average_accuracy", "forgetting", "overhead", "stored_bytes", "learning_accuracy", "worst_retention")
F1_METRICS = tuple(f"f1_{name}" for name in METRICS)  # of the macro-F1 matrix, where a run has one
COLUMNS = (*METRICS, *DERIVED, *F1_METRICS, "overhead", *COSTS)
# Metrics of which more, or less, is better.
DIRECTED = frozenset((*METRICS, *DERIVED, *F1_METRICS)) - {"recency_bias"}
DECIMALS = 3  # of metrics in tables; what is equal to so many is equally good

ROOM = 2.0**20  # so many of the largest floats could be summed; a power of two, so that dividing by it rounds nothing


def higher_is_better(column: str) -> bool:
    """Whether more of a column is better: of no cost and of every metric but those of LOWER_IS_BETTER."""
    return column not in ("overhead", *COSTS) and column.removeprefix("f1_") not in LOWER_IS_BETTER


def metric_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """The columns of which a difference from a baseline is told."""
    return tuple(name for name in columns if name not in ("overhead", *COSTS))


def rank(column: str, mean: float | None) -> tuple[bool, float]:
    """Sorts the better first and no value last."""
    return (mean is None, 0.0 if mean is None else -mean if higher_is_better(column) else mean)


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (None of one value); no finite values are too large for it."""
    count = len(values)
    mean = fsum(value / ROOM for value in values) / count * ROOM
    return mean, hypot(*((value - mean) / sqrt(count - 1) for value in values)) if count > 1 else None
