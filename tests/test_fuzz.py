"""Any bytes give a value or one line: parsers and readers against random and damaged input."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st

from benchmarks.fuzz import TARGETS, Target, run_target
from benchmarks.fuzz_checks import refused
from clbench.errors import InputError

IN_CI, IN_FULL = 75, 10_000
# A target that takes nothing, or refuses nothing, would prove nothing.
MIXED = [name for name in TARGETS if "round trip" not in name]


@pytest.mark.parametrize("name", MIXED)
def test_some_are_taken_and_the_others_refused_in_one_line(name: str) -> None:
    outcome = run_target(TARGETS[name], IN_CI)
    assert 0 < outcome.taken < outcome.examples


def test_every_expression_that_can_be_spelled_is_read_back() -> None:
    outcome = run_target(TARGETS["strategy expression, round trip"], IN_CI)
    assert outcome.taken > IN_CI / 2


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_ten_thousand_examples(name: str) -> None:
    assert run_target(TARGETS[name], IN_FULL).examples >= IN_FULL


def test_another_exception_or_a_second_line_is_found() -> None:
    def fail(error: Exception) -> None:
        raise error

    assert refused(lambda: fail(InputError("one line")))
    assert not refused(lambda: None)
    two_lines = InputError("one")
    two_lines.args = ("one\ntwo",)
    with pytest.raises(AssertionError, match="not one line"):
        refused(lambda: fail(two_lines))
    with pytest.raises(KeyError):
        refused(lambda: fail(KeyError("x")))

    def check(value: list[int], _: Path) -> bool:
        assert not value
        return True

    with pytest.raises(AssertionError):
        run_target(Target(st.lists(st.integers()), check), IN_CI)
