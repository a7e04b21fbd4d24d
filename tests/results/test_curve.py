"""Metrics of what is measured inside tasks, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clbench.results import CURVE_METRICS, LOWER_IS_BETTER, METRICS, Stage, curve_metrics

TASKS = ("a", "b", "c")
STAGES = [
    Stage("a", (10, 20), {"a": (0.5, 0.8)}),
    # a: .8 before, dips to .5 at 10 steps, is back at .8 at 20 of 30.
    Stage("b", (30, 40, 50), {"a": (0.5, 0.8, 0.7), "b": (0.4, 0.6, 0.9)}),
    # a: .7 before, never below; b: .9 before, dips to .6 at 20 steps and is not back after 30.
    Stage("c", (60, 70, 80), {"a": (0.7, 0.9, 0.8), "b": (0.7, 0.6, 0.85), "c": (0.1, 0.2, 1.0)}),
]


def test_the_metrics_worked_by_hand() -> None:
    """Least of a since it was learned .5, of b .6; dips .3, 0 and .3; back after 20, 0, and 30 or more steps."""
    found = curve_metrics(TASKS, STAGES)
    assert tuple(found) == CURVE_METRICS
    assert found["min_accuracy"] == pytest.approx((0.5 + 0.6) / 2)
    assert found["worst_case_accuracy"] == pytest.approx(1 / 3 * 1.0 + 2 / 3 * 0.55)
    assert found["stability_gap"] == pytest.approx((0.3 + 0 + 0.3) / 3)
    assert found["recovery_steps"] == pytest.approx((20 + 0 + 30) / 3)


def test_a_dip_after_the_recovery_is_the_lowest_point_that_counts() -> None:
    """a: .8 before, .7, back at .8, then .6 at 30 steps, back at 40."""
    second = Stage("b", (30, 40, 50, 60), {"a": (0.7, 0.8, 0.6, 0.8), "b": (0.1, 0.2, 0.3, 0.4)})
    found = curve_metrics(TASKS[:2], [STAGES[0], second])
    assert found["recovery_steps"] == 40
    assert found["stability_gap"] == pytest.approx(0.2)
    assert found["worst_case_accuracy"] == pytest.approx(0.4 / 2 + 0.6 / 2)


def test_what_was_not_measured_is_no_number() -> None:
    nothing = dict.fromkeys(CURVE_METRICS)
    assert curve_metrics(TASKS, []) == nothing
    assert curve_metrics(TASKS[:1], STAGES[:1]) == nothing
    assert curve_metrics(TASKS, STAGES[2:]) == nothing  # as of joint, which learns once
    at_the_end = replace(STAGES[1], steps=(50,), measures={"a": (0.7,), "b": (0.9,)})
    assert curve_metrics(TASKS, [STAGES[0], at_the_end, STAGES[2]]) == nothing  # its own loop: none inside
    without = replace(STAGES[2], measures={"b": (0.7, 0.6, 0.85), "c": (0.1, 0.2, 1.0)})
    assert curve_metrics(TASKS, [*STAGES[:2], without]) == nothing


def test_gap_and_recovery_are_better_where_smaller() -> None:
    assert set(CURVE_METRICS) & LOWER_IS_BETTER == {"stability_gap", "recovery_steps"}
    assert not set(CURVE_METRICS) & set(METRICS)
