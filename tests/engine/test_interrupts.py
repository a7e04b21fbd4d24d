"""Signals: the first asks for an end, a second one ends at once, and what reaches a process twice is one."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from clbench.engine.interrupts import SAME_SECONDS, Interrupts


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("clbench.engine.interrupts.time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("first", "second", "apart", "ends"),
    [
        (signal.SIGTERM, signal.SIGTERM, 0.2, False),  # from a scheduler, and from the process that started this one
        (signal.SIGTERM, signal.SIGTERM, SAME_SECONDS + 1, True),
        (signal.SIGINT, signal.SIGINT, 0.2, True),  # a person who presses Ctrl-C twice
        (signal.SIGINT, signal.SIGTERM, 0.2, True),
    ],
)
def test_a_second_signal(first: Any, second: Any, apart: float, ends: bool, clock: list[float]) -> None:
    asked = Interrupts()
    asked.note(first, None)
    clock[0] += apart
    if ends:
        with pytest.raises(KeyboardInterrupt):
            asked.note(second, None)
    else:
        try:
            asked.note(second, None)
        except KeyboardInterrupt:  # which would end pytest
            pytest.fail("ended at once")
    assert asked.received == first
