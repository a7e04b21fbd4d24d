"""Seconds by purpose: blocks inside others, and the profile made of them."""

from __future__ import annotations

import pytest

from clbench.clock import Clock
from clbench.engine.outcome import overhead, profile_lines


class Hand:
    """A clock's hand that only the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("clbench.clock.time.perf_counter", lambda: self.now)


def test_a_block_inside_another_is_taken_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    measured = Clock(detailed=True)
    hand.now += 1
    with measured.measure("train"):
        hand.now += 2
        with measured.part("train/forward"):
            hand.now += 4
            assert measured.read() == {"train": 2.0, "train/forward": 4.0, "wall": 7.0}
        hand.now += 8
    hand.now += 16
    with measured.measure("train"):
        hand.now += 32
    assert measured.read() == {"train": 42.0, "train/forward": 4.0, "wall": 63.0}


def test_parts_are_only_measured_in_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    measured = Clock()
    with measured.measure("train"), measured.part("train/forward"):
        hand.now += 4
    assert measured.read() == {"train": 4.0, "wall": 4.0}


def test_a_resumed_clock_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    measured = Clock()
    measured.resume({"train": 10.0, "wall": 20.0})
    with measured.measure("train"):
        hand.now += 5
    assert measured.read() == {"train": 15.0, "wall": 25.0}


def test_the_profile_by_hand() -> None:
    seconds = {
        "prepare": 2.0, "train": 1.0, "train/forward": 20.0, "train/backward": 40.0, "train/optimizer": 5.0,
        "train/strategy": 3.0, "fisher": 7.0, "eval": 1.0, "eval/forward": 15.0, "wall": 100.0,
    }  # fmt: skip
    # Neither the passes and steps (80) nor the strategy (10).
    assert overhead(seconds) == pytest.approx(0.10)
    lines = profile_lines(seconds)
    assert lines[1].split() == ["train/backward", "40.00", "s", "40.0%"]
    assert lines[-3].split() == ["other", "6.00", "s", "6.0%"]
    assert lines[-1].startswith("10.0% outside")


def test_what_is_left_out_counts_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    measured = Clock()
    with measured.measure("train"):
        hand.now += 1
        with measured.left_out():
            hand.now += 50
        hand.now += 2
    assert measured.read() == {"train": 3.0, "wall": 3.0}
