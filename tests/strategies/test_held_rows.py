"""Rehearsal leaves the output rows of other tasks alone while the task id is known, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clbench.data import TaskData
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.learner import Learner
from clbench.plugins.plan import Plan, make_plan
from clbench.strategy import Stack, Strategy
from clbench.toolkit.rehearsal import hold_rows, other_rows
from tests.helpers import Examples, MakeLearner, task_data

REHEARSAL = ("replay", "er_ace", "der(beta=0.5)", "gem", "agem", "alarm", "replay+ewc", "ewc+replay", "agem+si")
SIZES = {"train": 24, "dev": 6, "test": 6}


class Rows(Strategy):
    """Notes for each task which output rows, and whether anything of the body, moved in it."""

    def __init__(self) -> None:
        self.moved: list[list[int]] = []
        self.body: list[bool] = []

    def before_task(self, learner: Learner, task: TaskData) -> None:
        layer = learner.output_layer()
        self.start = [layer.weight.detach().clone(), layer.bias.detach().clone()]
        self.first = next(p for n, p in learner.named_parameters() if not learner.is_head(n)).detach().clone()

    def after_task(self, learner: Learner, task: TaskData) -> None:
        layer = learner.output_layer()
        changed = (layer.weight != self.start[0]).any(1) | (layer.bias != self.start[1])
        self.moved.append(changed.nonzero().flatten().tolist())
        body = next(p for n, p in learner.named_parameters() if not learner.is_head(n))
        self.body.append(not torch.equal(body, self.first))


def moved(strategy: str, setting: str, folder: Path) -> tuple[list[list[int]], list[bool]]:
    options: dict[str, Any] = {
        "scenario": "toy",
        "strategy": strategy,
        "setting": setting,
        "epochs": 1,
        "device": "cpu",
    }
    plan = make_plan({**options, "scenario_args": SIZES, "batch_size": 8, "output_dir": str(folder)})
    rows = Rows()
    engine.run(Plan(plan.config, plan.tasks, Stack([*plan.strategy.members, ("rows", rows)])), Reporter())
    return rows.moved, rows.body


@pytest.mark.parametrize("strategy", REHEARSAL)
def test_with_the_task_id_only_the_tasks_own_rows_move(strategy: str, tmp_path: Path) -> None:
    rows, body = moved(strategy, "task", tmp_path)
    assert rows == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert body == [True, True, True]


@pytest.mark.parametrize("strategy", ["replay", "er_ace", "agem"])
def test_without_it_old_rows_must_move(strategy: str, tmp_path: Path) -> None:
    rows, _ = moved(strategy, "class", tmp_path)
    assert set(rows[2]) > {6, 7, 8}


def test_held_rows_can_be_let_go(tmp_path: Path) -> None:
    rows, _ = moved("replay(hold_rows=False)", "task", tmp_path)
    assert set(rows[1]) > {3, 4, 5}


def test_which_gradients_are_taken_away(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner(tasks=3, width=2)
    task = task_data(learner, 1, make_examples(learner.labels, 4, task=1))
    rows = other_rows(learner, task)
    assert rows is not None
    assert rows.tolist() == [True, True, False, False, True, True]
    layer = learner.output_layer()
    body = next(learner.model.parameters())
    gradients: list[Tensor | None] = [torch.ones_like(p) for p in (layer.weight, layer.bias, body)]
    hold_rows(learner, rows, [layer.weight, layer.bias, body], gradients)
    weight, bias, other = gradients
    assert weight is not None
    assert bias is not None
    assert other is not None
    assert weight.sum(1).tolist() == [0, 0, weight.shape[1], weight.shape[1], 0, 0]
    assert bias.tolist() == [0, 0, 1, 1, 0, 0]
    assert other.eq(1).all()
    assert other_rows(make_learner("class", tasks=3, width=2), task) is None
