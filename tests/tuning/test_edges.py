"""A value next to an end of its range is told, with a range that goes ten times further on that side."""

from __future__ import annotations

from typing import Any

import pytest

from clbench.results import Tuned
from clbench.tuning import at_the_edge

LOG = {"low": 1e-5, "high": 1e-3, "log": True}


def tuned(value: Any, space: dict[str, Any]) -> Tuned:
    return Tuned({"lr": value}, 0.5, 1, [100], ["a"], 2, {"lr": space}, {}, {}, [])


@pytest.mark.parametrize(
    ("value", "wider"),
    [
        (1.03e-5, "1e-06:0.001"),  # log10(1.03) / 2 = 0.006 of the way
        (1e-3, "1e-05:0.01"),
        (1.2e-5, None),  # 0.04 of the way
        (1e-4, None),
    ],
)
def test_a_value_at_an_edge_is_told(value: float, wider: str | None) -> None:
    lines = list(at_the_edge("naive", tuned(value, LOG)))
    start = f"naive: lr = {value:g} lies at the edge of what was tried, 1e-05 to 0.001; a better one may lie outside: "
    assert lines == ([] if wider is None else [f"{start}--search lr={wider}:log"])


@pytest.mark.parametrize(
    ("value", "space"),
    [
        (0.0, {"low": 0.0, "high": 1.0, "log": False}),  # a share can be no less
        (1, {"low": 1, "high": 64, "log": True}),
        ("herding", {"choices": ["herding", "random"]}),
        (1e-3, {"low": 1e-3, "high": 1e-3, "log": True}),  # held still by --search
    ],
)
def test_what_has_no_outside_is_not(value: Any, space: dict[str, Any]) -> None:
    assert list(at_the_edge("naive", tuned(value, space))) == []
