"""Whether a difference is one: paired differences over seeds, and over test examples. Plain functions of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from typing import TYPE_CHECKING

from clbench.rng import stream_seed

if TYPE_CHECKING:
    from numpy import float64
    from numpy.random import Generator
    from numpy.typing import NDArray

    Numbers = NDArray[float64]

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
MOST_SEEDS = 40  # whose signs are flipped: half of them are a million sums
RESAMPLES = 10_000
ROUNDING = 1e-12  # of a sum, relative to the sum of its parts' sizes


@dataclass(frozen=True)
class Difference:
    """What a row's metric is above the baseline's, over ``n`` seeds that both have; None where nothing is known.

    Attributes:
        difference: the mean over seeds.
        low, high: its 95 % interval over seeds.
        p, p_holm: of the sign-flip test, and corrected over the rows; None where so few seeds cannot give a small one.
        n: pairs of runs.
        example_low, example_high: the 95 % interval over test examples, for these seeds.
    """

    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    n: int = 0
    example_low: float | None = None
    example_high: float | None = None


def student_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean: mean ± t · s / √n with n - 1 degrees of freedom; None for fewer than two values.

    Its level is exact where values are normally distributed, from two values on. An interval from the sign-flip test
    would need no such assumption, but has no level of 95 % below six values, which few can pay for.
    """
    if len(values) < 2:
        return None
    from scipy.stats import t

    count, mean = len(values), fsum(values) / len(values)
    deviation = sqrt(fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / sqrt(count)
    return mean - half, mean + half


def sign_flip_p(differences: Sequence[float]) -> float:
    """The exact two-sided p of a mean of 0 (Fisher 1935): the share of all 2^n choices of signs with a sum as far off.

    The sums of either half of the differences are paired by sorting, so that 40 take 2^20 steps instead of 2^40.

    Args:
        differences: 1 to MOST_SEEDS numbers.
    """
    import numpy as np

    observed = abs(fsum(differences)) - ROUNDING * fsum(map(abs, differences))
    if observed <= 0:
        return 1.0
    left, right = (_signed_sums(half) for half in np.array_split(np.asarray(differences, dtype=float), 2))
    # Both signs of every choice are there, so that as many sums are below -observed as above.
    above = len(right) - np.searchsorted(np.sort(right), observed - left)
    return 2.0 * int(above.sum()) / 2.0 ** len(differences)


def _signed_sums(values: Numbers) -> Numbers:
    import numpy as np

    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def holm(values: Sequence[float | None], rows: int) -> list[float | None]:
    """The p values corrected for being of so many ``rows`` (Holm 1979), in their order.

    Those that are None were not worked out: they stay None, and count as the largest of the ``rows``.
    """
    order = sorted((value, place) for place, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (value, place) in enumerate(order):
        largest = max(largest, min(1.0, (rows - rank) * value))
        corrected[place] = largest
    return corrected


def smallest_p(seeds: int, rows: int = 1) -> float:
    """The smallest p that so many paired seeds can give, corrected over so many rows."""
    return min(1.0, rows * 2.0 / 2.0**seeds)


def seeds_needed(rows: int = 1) -> int:
    """The fewest paired seeds whose p, corrected over so many rows, can be 0.05 or less: 6 for one row.

    >>> [seeds_needed(rows) for rows in (1, 2, 10)]
    [6, 7, 9]
    """
    seeds = 1
    while smallest_p(seeds, rows) > SIGNIFICANCE:
        seeds += 1
    return seeds


def example_interval(strata: Sequence[Sequence[Numbers]]) -> tuple[float, float]:
    """The 95 % interval of a mean over tasks when each one's examples are drawn again: a bootstrap (Efron 1979).

    The bounds are quantiles of RESAMPLES means, always from the same random stream.

    Args:
        strata: for each task the samples that it is the mean of, each drawn from by itself: numbers, one an example.
    """
    import numpy as np

    generator = np.random.default_rng(stream_seed(0, "paired bootstrap over test examples"))
    total = np.zeros(RESAMPLES)
    for task in strata:
        for sample in task:
            total += _resampled_means(sample, generator) / (len(task) * len(strata))
    low, high = np.quantile(total, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return low, high


def _resampled_means(sample: Numbers, generator: Generator) -> Numbers:
    """Means of RESAMPLES samples drawn with replacement. The differences have few values, so these are counted."""
    import numpy as np

    values, counts = np.unique(sample, return_counts=True)
    drawn = generator.multinomial(len(sample), counts / len(sample), size=RESAMPLES)
    means: Numbers = drawn @ values / len(sample)
    return means
