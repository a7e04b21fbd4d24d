"""The columns of a comparison: which there are, which way is better, how a mean and its spread are worked out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
PROBE_METRICS = tuple(f"probe_{name}" for name in METRICS)  # of the linear probe's matrix, where a run has one
LOST = "ability_lost"
# What is shown beside the default columns where any run has it, and after which of them.
BESIDE = {"probe_forgetting": "forgetting", LOST: "worst_retention"}
# Which of the default columns a narrow terminal shows first.
FIRST_COLUMNS = (
    "average_accuracy",
    "forgetting",
    *BESIDE,
    "overhead",
    "stored_bytes",
    "learning_accuracy",
    "worst_retention",
)
F1_METRICS = tuple(f"f1_{name}" for name in METRICS)  # of the macro-F1 matrix, where a run has one
COLUMNS = (*METRICS, *DERIVED, *F1_METRICS, *PROBE_METRICS, LOST, "overhead", *COSTS)
# Metrics of which more, or less, is better.
DIRECTED = frozenset((*METRICS, *DERIVED, *F1_METRICS, *PROBE_METRICS, LOST)) - {"recency_bias"}
DECIMALS = 3  # of metrics in tables; what is equal to so many is equally good

ROOM = 2.0**20  # so many of the largest floats could be summed; a power of two, so that dividing by it rounds nothing


def higher_is_better(column: str) -> bool:
    """Whether more of a column is better: of no cost and of every metric but those of LOWER_IS_BETTER."""
    return column not in ("overhead", *COSTS) and _plain(column) not in LOWER_IS_BETTER


def _plain(column: str) -> str:
    return column.removeprefix("f1_").removeprefix("probe_")


def default_columns(beside: Collection[str]) -> tuple[str, ...]:
    """DEFAULT_COLUMNS with those ``beside`` them that runs have values of."""
    columns = list(DEFAULT_COLUMNS)
    for name, before in BESIDE.items():
        if name in beside:
            columns.insert(columns.index(before) + 1, name)
    return tuple(columns)


def by_default(columns: Sequence[str]) -> bool:
    """Whether these are the columns that are shown where none are asked for."""
    return tuple(name for name in columns if name not in BESIDE) == DEFAULT_COLUMNS


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
