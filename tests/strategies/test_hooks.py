"""The hooks that recipes fill in: groups and rates of the optimizer, when a task ends, the rows that it learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from clbench.conformance.probes import Cut, Cuts
from clbench.data import TaskData
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.plugins.plan import Plan, make_plan
from clbench.scenario import Task
from clbench.strategy import Stack, Strategy
from clbench.testing import check_strategy
from clbench.toolkit import Training
from tests.helpers import Examples, MakeLearner, task_data, weights

FILE = '''
"""Fills in all four hooks."""
from clbench import Strategy


class Recipe(Strategy):
    kinds, settings = ("text",), ("task",)

    def examples(self, learner, task, rows):
        assert not len(task.test)
        return rows.select(range(6))

    def parameter_groups(self, learner, groups):
        return [{**group, "lr": group["lr"] / 2} for group in groups]

    def learning_rate_factor(self, step, steps):
        return 1 - step / steps

    def before_task(self, learner, task):
        self.done = 0

    def stop(self, learner, task):
        self.done += 1
        return self.done == 3

    def state_dict(self):
        return {"done": getattr(self, "done", 0)}

    def load_state_dict(self, state):
        self.done = state["done"]
'''


@pytest.mark.slow
def test_a_strategy_with_all_four_passes_the_checks(tmp_path: Path) -> None:
    path = tmp_path / "recipe.py"
    path.write_text(FILE)
    assert [str(result) for result in check_strategy(str(path)) if result.status != "ok"] == []


class Groups(Strategy):
    """Multiplies the rates of all groups, and gives a constant factor."""

    def __init__(self, times: float, factor: float | None = None) -> None:
        self.times, self.factor = times, factor

    def parameter_groups(self, learner: Learner, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**group, "lr": group["lr"] * self.times} for group in groups]

    def learning_rate_factor(self, step: int, steps: int) -> float | None:
        return self.factor


@pytest.mark.parametrize("given", [True, False])
def test_groups_go_through_all_members_and_the_first_factor_counts(
    given: bool, make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner = make_learner()
    learner.learning_rates = {"body": 1.0, "head": 10.0}
    examples = make_examples(learner.labels, 4)
    members = [("a", Groups(2)), ("b", Groups(3, 0.5 if given else None)), ("c", Groups(1, 0.25 if given else None))]
    options = {"scenario": "toy", "strategy": "naive", "task_steps": 4, "warmup": 0.0, "device": "cpu"}
    config = make_plan(options).config
    work = Training(config, Stack(members), learner, task_data(learner, 0, examples), examples)
    assert work.peak_rates == [6.0, 6.0, 60.0]
    for _ in range(2):
        work.run_step()
    # The second of four steps: the run's own factor is 3/4.
    assert [group["lr"] for group in work.optimizer.param_groups] == [r * (0.5 if given else 0.75) for r in (6, 6, 60)]
    assert (learner.step, learner.steps, learner.gradients_again) == (1, 4, None)


class Stops(Strategy):
    """Says after ``count`` steps that it is enough."""

    def __init__(self, count: int) -> None:
        self.count, self.asked = count, 0

    def before_task(self, learner: Learner, task: TaskData) -> None:
        self.asked = 0

    def stop(self, learner: Learner, task: TaskData) -> bool:
        self.asked += 1
        return self.asked == self.count


def with_members(options: dict[str, Any], *members: Strategy) -> Plan:
    plan = make_plan({**options, "strategy": "naive"})
    return Plan(plan.config, plan.tasks, Stack([(str(n), member) for n, member in enumerate(members)]))


def test_a_task_ends_when_a_member_says_so(toy: dict[str, Any], tmp_path: Path) -> None:
    """30 examples in batches of 8, two of which make a task's 16; curves count the steps that were taken."""
    options = {**toy, "task_steps": 9, "output_dir": str(tmp_path), "evaluate_every": 2, "batch_size": 8}
    options = {key: value for key, value in options.items() if key != "epochs"}
    first, other = Stops(2), Stops(5)
    result = engine.run(with_members(options, first, other), Reporter())
    tasks = len(result["tasks"])
    assert first.asked == other.asked == 2  # every member is asked after every step
    assert result["cost"]["examples_seen"] <= 2 * 8 * tasks
    folder = next(tmp_path.glob("toy/naive/*"))
    import pyarrow.parquet as parquet

    assert set(parquet.read_table(folder / "curve.parquet")["step"].to_pylist()) == {2 * n for n in range(1, tasks + 1)}


class Halves(Strategy):
    """Learns from every second row."""

    def examples(self, learner: Learner, task: Task, rows: datasets.Dataset) -> datasets.Dataset:
        assert not len(task.test)
        assert len(task.dev)
        learner.note("halved", task=task.name)
        return rows.select(range(0, len(rows), 2))


def test_rows_are_taken_before_they_are_encoded(toy: dict[str, Any], tmp_path: Path) -> None:
    options = {**toy, "output_dir": str(tmp_path)}
    result = engine.run(with_members(options, Halves()), Reporter())
    assert result["cost"]["examples_seen"] == len(result["tasks"]) * 15
    events = next(tmp_path.glob("toy/naive/*/log.jsonl")).read_text().splitlines()
    assert sum('"halved"' in line for line in events) == len(result["tasks"])


def test_what_was_noted_while_preparing_is_logged_once_also_after_a_resume(toy: dict[str, Any], tmp_path: Path) -> None:
    done: set[str] = set()
    for _ in range(2):
        try:
            cuts = Cuts(done, "before station")
            engine.run(with_members({**toy, "output_dir": str(tmp_path)}, Halves(), cuts), Reporter())
        except Cut:
            continue
    events = next(tmp_path.glob("toy/naive/*/log.jsonl")).read_text().splitlines()
    assert [line.count('"halved"') for line in events if '"halved"' in line] == [1, 1, 1]


def test_no_row_left_is_refused(toy: dict[str, Any], tmp_path: Path) -> None:
    class None_(Strategy):
        def examples(self, learner: Learner, task: Task, rows: datasets.Dataset) -> datasets.Dataset:
            return rows.select([])

    with pytest.raises(InputError, match="the strategy makes 0 rows of task 'kitchen'"):
        engine.run(with_members({**toy, "output_dir": str(tmp_path)}, None_()), Reporter())


def test_gradients_can_be_taken_again_where_the_weights_are_then(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    """Taken again where nothing moved they are the same, with weights of 0 in the output layer others."""

    class Again(Strategy):
        def read_gradients(self, learner: Learner) -> None:
            first = [p.grad.clone() for _, p in learner.named_parameters() if p.grad is not None]
            assert learner.gradients_again is not None
            learner.gradients_again()
            again = [p.grad.clone() for _, p in learner.named_parameters() if p.grad is not None]
            self.same = all((a - b).abs().max() < 1e-6 for a, b in zip(first, again, strict=True))
            kept = weights(learner)
            learner.output_layer().weight.data.zero_()
            learner.gradients_again()
            # Nothing goes back through an output layer of zeros.
            body = [p.grad for name, p in learner.named_parameters() if not learner.is_head(name)]
            self.zero = all(g is None or not g.any() for g in body)
            learner.output_layer().weight.data.copy_(kept["classifier.weight"])

    learner, again = make_learner(), Again()
    examples = make_examples(learner.labels, 6)
    config = make_plan({"scenario": "toy", "strategy": "naive", "accumulation": 2, "batch_size": 6}).config
    Training(config, again, learner, task_data(learner, 0, examples), examples).run_step()
    assert again.same
    assert again.zero
