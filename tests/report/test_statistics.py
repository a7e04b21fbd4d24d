"""The statistics of a comparison: by hand, against scipy, and their coverage by simulation."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.stats import permutation_test, t

from clbench.report.statistics import (
    Difference,
    example_interval,
    holm,
    seeds_needed,
    sign_flip_p,
    smallest_p,
    student_interval,
)


def test_the_interval_of_three_differences_by_hand() -> None:
    # Mean .02, deviations -.01, 0, .01: s = .01, and t of 2 degrees of freedom is 4.3027.
    low, high = student_interval([0.01, 0.02, 0.03]) or (0.0, 0.0)
    assert [low, high] == pytest.approx([0.02 - 0.0248414, 0.02 + 0.0248414], abs=1e-6)
    assert student_interval([0.3]) is None
    assert student_interval([0.25, 0.25, 0.25]) == (0.25, 0.25)


def test_p_of_three_differences_by_hand() -> None:
    # Of the 8 sums of ±1 ±2 ±4 only 7 and -7 are as far off as 7; 5 and -5 more as 5.
    assert sign_flip_p([1, 2, 4]) == 2 / 8
    assert sign_flip_p([-1, 2, 4]) == 4 / 8
    assert sign_flip_p([-1, 1]) == 1.0
    assert sign_flip_p([0.0, 0.0]) == 1.0
    assert sign_flip_p([0.1]) == 1.0


@pytest.mark.parametrize("count", [2, 3, 6, 7, 10])
def test_p_is_that_of_scipy_and_of_every_choice_of_signs(count: int) -> None:
    """Differences between accuracies of 300 examples tie, and rounding must not tell ties apart."""
    generator = np.random.default_rng(count)
    for scale in (5, 300):
        counts = generator.integers(-scale, scale + 1, count)
        differences = (counts / 300).tolist()
        found = sign_flip_p(differences)
        sums = [
            abs(sum(sign * each for sign, each in zip(signs, counts.tolist(), strict=True)))
            for signs in product((1, -1), repeat=count)
        ]
        assert found == Fraction(sum(each >= abs(counts.sum()) for each in sums), 2**count)

        def mean(values: Any, axis: int) -> Any:
            return values.mean(axis=axis)

        options: dict[str, Any] = {"permutation_type": "samples", "n_resamples": np.inf}
        # scipy doubles the smaller tail, also where all is 0
        assert found == pytest.approx(permutation_test((counts / 300,), mean, **options).pvalue)


def test_p_of_forty_differences_is_exact() -> None:
    assert sign_flip_p([1.0] * 40) == 2.0**-39
    # One of 40 against: those with none, or any one, against, on either side.
    assert sign_flip_p([-1.0] + [1.0] * 39) == 2 * 41 / 2**40


def test_holm_by_hand() -> None:
    # .01 · 4, .02 · 3 = .06, .03 · 2 = .06, .5 · 1; never less than one before.
    assert holm([0.03, 0.01, 0.5, 0.02], 4) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.04, 0.03], 2) == pytest.approx([0.06, 0.06])
    assert holm([0.6, 0.7], 2) == [1.0, 1.0]
    assert holm([None, 0.01], 3) == [None, pytest.approx(0.03)]  # what could not be worked out counts
    assert holm([], 0) == []


def test_so_many_seeds_would_do() -> None:
    assert [smallest_p(seeds) for seeds in (1, 2, 3, 5, 6)] == [1.0, 0.5, 0.25, 0.0625, 0.03125]
    assert [seeds_needed(rows) for rows in (1, 2, 3, 6, 7, 34)] == [6, 7, 7, 8, 9, 11]
    assert smallest_p(7, 3) == 3 / 64


def test_the_bootstrap_of_one_task_is_that_of_a_binomial() -> None:
    """Of examples that are 1 or 0 the mean of a resample is a binomial's share: its quantiles are known."""
    sample = np.array([1.0] * 40 + [0.0] * 60)
    low, high = example_interval([[sample]])
    assert [low, high] == pytest.approx([0.305, 0.495], abs=0.006)  # binomial(100, .4): 30.5, 49.5
    assert example_interval([[sample]]) == (low, high)  # the same stream each time


def test_the_bootstrap_is_stratified() -> None:
    """Tasks on which nothing differs within have no width, however different they are from each other."""
    assert example_interval([[np.full(9, 1.0)], [np.full(5, -0.5)]]) == (0.25, 0.25)
    wide = np.array([1.0, -1.0] * 50)
    (low, high), (own_low, own_high) = example_interval([[wide], [np.zeros(3)]]), example_interval([[wide]])
    assert high - low == pytest.approx((own_high - own_low) / 2, rel=0.05)
    # Two seeds' samples of a task weigh as much as one of another task.
    assert example_interval([[np.ones(2), np.zeros(4)], [np.ones(3)]]) == (0.75, 0.75)


def test_nothing_known_is_null() -> None:
    assert Difference() == Difference(None, None, None, None, None, 0, None, None)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_over_seeds_covers_in_95_of_100(seeds: int) -> None:
    """4,000 comparisons of strategies that differ by .03, seeds by .02 more or less: within 93 to 97 %."""
    differences = np.random.default_rng(seeds).normal(0.03, 0.02, (4000, seeds))
    bounds = np.array([student_interval(each) for each in differences.tolist()])
    covered = np.mean((bounds[:, 0] <= 0.03) & (bounds[:, 1] >= 0.03))
    assert 0.93 <= covered <= 0.97
    assert t.ppf(0.975, seeds - 1) > 2  # it is no normal interval


@pytest.mark.slow
@pytest.mark.parametrize(("tasks", "examples", "seeds"), [(5, 300, 5), (2, 60, 1)])
def test_the_interval_over_examples_covers_in_95_of_100(tasks: int, examples: int, seeds: int) -> None:
    """1,000 test sets, drawn from populations where the difference is .03 on the average and varies by task."""
    generator = np.random.default_rng(tasks)
    gains = 0.03 + 0.02 * (np.arange(tasks) - (tasks - 1) / 2)
    covered = 0.0
    for _ in range(1000):
        strata = []
        for gain in gains:
            ease = generator.random(examples)  # shared by both strategies and all seeds
            noise = generator.normal(0, 0.1, (2, seeds, examples))
            right = (ease + noise < np.array([0.7 + gain, 0.7])[:, None, None]).astype(float)
            strata.append([(right[0] - right[1]).mean(axis=0)])
        low, high = example_interval(strata)
        covered += float(low <= np.mean([true_gain(gain) for gain in gains]) <= high)
    assert 930 <= covered <= 970


def true_gain(gain: float) -> float:
    """The difference in the probability of ``ease + noise < .7 + gain`` from that without ``gain``, by fine steps."""
    from scipy.stats import norm

    ease = (np.arange(20000) + 0.5) / 20000
    return float(np.mean(norm.cdf((0.7 + gain - ease) / 0.1) - norm.cdf((0.7 - ease) / 0.1)))
