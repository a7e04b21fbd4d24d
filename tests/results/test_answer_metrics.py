"""Metrics of stored answers, worked by hand."""

from __future__ import annotations

import pytest

from clbench.results import Answers, expected_calibration_error, recency_bias


def answers(*pairs: str, confidence: float = 0.5) -> Answers:
    """``"ab"`` is an example with label a that was answered with b."""
    return Answers(tuple(p[0] for p in pairs), tuple(p[1] for p in pairs), (confidence,) * len(pairs))


def test_recency_bias_by_hand() -> None:
    """Of five examples, two of them the last task's, four are answered with its labels x and y."""
    told = [answers("ax", "ay", "bb"), answers("xx", "yx")]
    assert recency_bias(told, "class") == 4 / 5
    assert recency_bias(told, "domain") == 4 / 5
    assert recency_bias([answers("aa", "bb"), answers("xx", "yy")], "class") == 0.5  # its share of the examples


def test_recency_bias_where_it_says_nothing() -> None:
    told = [answers("ax", "bb"), answers("xx")]
    assert recency_bias(told, "task") is None
    assert recency_bias(told[1:], "class") is None
    assert recency_bias([answers("ab", "bb"), answers("ab", "ba")], "domain") is None  # all tasks have these labels
    assert recency_bias([answers("ab", "bx"), answers("ab", "xx")], "class") == 2 / 4  # x alone is the last task's


def test_expected_calibration_error_by_hand() -> None:
    """Bins of a fifteenth: .5 is in (7/15, 8/15], .52 too, .9 in (13/15, 14/15]."""
    sure = answers("aa", "aa", "ab", confidence=0.9)
    # Two of three right that are .9 sure.
    assert expected_calibration_error([sure]) == pytest.approx(0.9 - 2 / 3)
    # Of six, three are off by .2333; one right in three that are .5133 sure on the average.
    unsure = [answers("aa", "bc", confidence=0.5), answers("cb", confidence=0.54 - 0.01)]
    expected = 3 / 6 * (0.9 - 2 / 3) + 3 / 6 * ((0.5 + 0.5 + 0.53) / 3 - 1 / 3)
    assert expected_calibration_error([sure, *unsure]) == pytest.approx(expected)
    # In one bin, too sure and not sure enough cancel; in two they do not.
    assert expected_calibration_error([answers("aa", confidence=0.5), answers("ab", confidence=0.5)]) == 0
    two = [answers("aa", confidence=0.6), answers("ab", confidence=0.4)]
    assert expected_calibration_error(two) == pytest.approx(0.4)
    assert expected_calibration_error([answers("aa", confidence=1.0), answers("ab", confidence=0.0)]) == 0


def test_the_edges_of_bins() -> None:
    """1/3 ends the fifth bin and .34 is in the sixth: they do not cancel."""
    told = [answers("aa", confidence=1 / 3), answers("ab", confidence=0.34)]
    assert expected_calibration_error(told) == pytest.approx((2 / 3 + 0.34) / 2)
