"""What runs of one strategy say together: a mean with its interval, costs, and whether two strategies differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

from clbench.report import compare, student_interval
from clbench.results import LOWER_IS_BETTER, Run


@dataclass(frozen=True)
class Score:
    """A strategy's runs of one stage.

    Attributes:
        strategy: its expression.
        values: the metric by seed.
        stored_bytes, overhead: means over the seeds; None where unknown.
        stage: in which they ran.
    """

    strategy: str
    values: Mapping[int, float]
    stored_bytes: float | None
    overhead: float | None
    stage: str

    @property
    def mean(self) -> float:
        """Of the metric, over seeds."""
        return fsum(self.values.values()) / len(self.values)

    def interval(self) -> tuple[float, float] | None:
        """Student's 95 % interval of the mean; None for one seed."""
        return student_interval(list(self.values.values()))


def score(strategy: str, runs: Sequence[Run], naive: Sequence[Run], metric: str, stage: str) -> Score | None:
    """The score of a strategy's runs; None without a value of the metric, as of forgetting for a single task."""
    known = {int(run.result["seed"]): run.result["metrics"].get(metric) for run in runs}
    values = {seed: float(value) for seed, value in known.items() if value is not None}
    if not values:
        return None
    others = [run for run in naive if run.folder not in {other.folder for other in runs}]
    (table,) = compare([*runs, *others], ["overhead", "stored_bytes"]).tables
    (row,) = [row for row in table.rows if row.strategy == runs[0].result["strategy"]]
    return Score(strategy, values, row.cells["stored_bytes"].mean, row.cells["overhead"].mean, stage)


def ranked(scores: Sequence[Score], metric: str) -> list[Score]:
    """The best mean first."""
    return sorted(scores, key=lambda each: (_signed(each.mean, metric), each.strategy))


def gap(better: Score, worse: Score, metric: str) -> float:
    """By how much the first is better, positive if it is."""
    return _signed(worse.mean, metric) - _signed(better.mean, metric)


def distinguishable(one: Score, other: Score) -> bool:
    """Whether the paired differences over common seeds have a 95 % interval (Student) without 0."""
    common = sorted(set(one.values) & set(other.values))
    bounds = student_interval([one.values[seed] - other.values[seed] for seed in common])
    return bounds is not None and not bounds[0] <= 0 <= bounds[1]


def _signed(value: float, metric: str) -> float:
    return value if metric in LOWER_IS_BETTER else -value
