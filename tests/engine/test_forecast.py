"""What the evaluations cost, told before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clbench.clock import Clock
from clbench.engine import engine, forecast
from clbench.engine.preparation import Prepared, prepare
from clbench.engine.reporter import Reporter
from clbench.plugins.plan import make_plan


def prepared(toy: dict[str, Any], strategy: str, **options: Any) -> Prepared:
    return prepare(make_plan({**toy, "strategy": strategy, **options}), Clock())


def test_passes_by_hand(toy: dict[str, Any]) -> None:
    """Three tasks with 15 test texts each."""

    def passes(strategy: str, **options: Any) -> int:
        return forecast.test_passes(prepared(toy, strategy, **options))

    assert passes("naive") == 15 * 3 * 4  # before training, too
    assert passes("naive", evaluate="seen") == 15 * (3 + 2 + 1)
    assert passes("naive", setting="class") == 15 * (3 + 2 + 1)
    assert passes("joint", setting="class") == 15 * 3  # trains once
    assert passes("ranpac", setting="class") == 15 * 3
    assert passes("ewc+replay", setting="class") == 15 * (3 + 2 + 1)
    assert passes("lora_per_task", setting="class") == 15 * 3 * 4  # three modules and the pretrained model
    assert passes("lora_per_task") == 15 * 3 * 4


def test_it_is_told_before_training_and_only_where_it_is_much(
    toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prepared(toy, "naive", setting="class")
    assert forecast.forecast(made) is None
    monkeypatch.setattr(forecast, "FEWEST_PASSES", 90)
    assert forecast.forecast(made) is None  # seconds
    monkeypatch.setattr(forecast, "_seconds_of_a_pass", lambda _: 2.0)
    told: list[str] = []

    class Listening(Reporter):
        def say(self, line: str) -> None:
            told.append(line)

        def start_task(self, label: str, steps: int, steps_done: int = 0) -> None:
            told.append("training")

    options = {**toy, "strategy": "naive", "setting": "class", "output_dir": str(tmp_path)}
    engine.run(make_plan(options), Listening())
    assert told[:2] == [
        "the evaluations of this run take up to 90 forward passes of test texts, about 3 minutes here; fewer with "
        "--limit or --evaluate seen",
        "training",
    ]
