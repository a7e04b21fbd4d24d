"""The checks of a strategy: short runs on a tiny scenario, compared with each other to the last bit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

from clbench import engine
from clbench.checks import Check, Silent, seed_everything
from clbench.clock import Clock
from clbench.errors import InputError
from clbench.fingerprints import copy_state, state_difference, task_fingerprints
from clbench.plan import Plan, make_plan
from clbench.prepare import prepare
from clbench.probes import Blindfold, Cut, Cuts, Observed, Trace
from clbench.scenario import Scenario, Task
from clbench.strategy import Stack, Strategy
from clbench.tasks import image_dataset, text_dataset
from clbench.watches import GradientWatch, StateWatch, TaskWatch

TASKS = 3
# Two batches an epoch, the second one smaller, and two epochs: four steps a task.
OPTIONS: dict[str, Any] = {"model": "tiny", "device": "cpu", "epochs": 2, "batch_size": 5, "dropout": 0.1}
SCENARIOS: dict[str, dict[str, Any]] = {
    "toy": {"scenario_args": {"tasks": TASKS, "train": 9, "dev": 3, "test": 6}},
    "digits_seq": {"limit": 8},
}
GROUNDS = (("toy", "task"), ("toy", "domain"), ("toy", "class"), ("digits_seq", "task"), ("digits_seq", "class"))
"""Scenarios and settings; the checks use the first that the strategy supports, a run is tried on each."""
NEIGHBOURS = ("replay", "ewc")
"""Strategies that are set up before the checked one, to see whether that matters."""


@dataclass
class Record:
    """What a run gave; ``weights`` are fingerprints in the order of training."""

    weights: dict[str, str] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    predictions: dict[str, list[Any]] = field(default_factory=dict)

    def difference(self, other: Record) -> str:
        """The first thing in which ``other`` differs; empty when both are equal to the last bit."""
        if place := weights_difference(self, other):
            return f"other weights {place}"
        mine, theirs = ({**r.result, "cost": {k: r.result["cost"][k] for k in COUNTS}} for r in (self, other))
        if found := state_difference(mine, theirs, "result"):
            return found
        return state_difference(dict(self.predictions), dict(other.predictions), "predictions")


# Of a run's cost, what is no time and no memory.
COUNTS = ("trainable_parameters", "examples_seen")


def weights_difference(one: Record, other: Record) -> str:
    """The first place in training after which the weights differ."""
    places = {**one.weights, **other.weights}
    return next((place for place in places if one.weights.get(place) != other.weights.get(place)), "")


class Prepared(Scenario):
    """Tasks that are there already."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.ready = list(tasks)

    def tasks(self) -> list[Task]:
        """Those tasks."""
        return self.ready


class StrategyChecks:
    """The checks of the strategy that ``expression`` spells, in ``folder``, which must be empty."""

    def __init__(self, expression: str, folder: Path) -> None:
        self.expression, self.folder = expression, folder
        self.numbers = itertools.count()
        self.tasks_of: dict[tuple[str, str, int], list[Task]] = {}
        self.task_findings: list[str] = []
        self.gradient_findings: list[str] = []

    def checks(self) -> list[Check]:
        """All of them, in the order in which they are best read."""
        one_run = ("runs", "same seed")
        whole = (*one_run, "state_dict", "aliases", "gradients", "task data", "hidden randomness")
        return [
            Check("loads", self.loads, usage=True),
            Check("runs", self.runs, ("loads",)),
            Check("state_dict", self.state_dict, ("runs",)),
            Check("aliases", self.aliases, ("runs", "state_dict")),
            Check("gradients", self.gradients, ("runs",)),
            Check("task data", self.task_data, ("runs",)),
            Check("same seed", self.same_seed, ("runs",)),
            Check("other seed", self.other_seed, one_run),
            Check("hidden randomness", self.hidden_randomness, one_run),
            Check("test examples", self.test_examples, one_run),
            Check("test labels", self.test_labels, one_run),
            Check("resume", self.resume, whole),
        ]

    # ---- runs

    def plan(self, ground: tuple[str, str] | None = None, expression: str = "", **options: Any) -> Plan:
        """A new plan, with new strategies, on tasks that are made once."""
        scenario, setting = ground or self.ground
        options = {**OPTIONS, **SCENARIOS[scenario], "scenario": scenario, "setting": setting, **options}
        options["output_dir"] = str(self.folder / str(next(self.numbers)))
        plan = make_plan({**options, "strategy": expression or self.expression})
        key = (scenario, setting, plan.config.seed)
        if key not in self.tasks_of:
            self.tasks_of[key] = plan.scenario.tasks()[:TASKS]
        return Plan(plan.config, Prepared(self.tasks_of[key]), plan.strategy)

    def record(self, plan: Plan, *watches: Strategy, first: Sequence[Strategy] = ()) -> Record:
        """Run ``plan`` with ``watches`` behind its strategy, from the same global random states each time."""
        seed_everything(0)
        record = Record()
        members = (*first, plan.strategy, Trace(record.weights), *watches)
        return finish(Plan(plan.config, plan.scenario, Observed(*members)), record)

    @cached_property
    def grounds(self) -> list[tuple[str, str]]:
        """The scenarios and settings that the strategy supports."""
        supported, refusal = [], ""
        for ground in GROUNDS:
            try:
                self.plan(ground)
                supported.append(ground)
            except InputError as error:
                if error.__cause__ or "support" not in str(error):
                    raise
                refusal = str(error)
        if not supported:
            raise InputError(refusal)
        return supported

    @property
    def ground(self) -> tuple[str, str]:
        """The scenario and setting that all checks but "runs" use."""
        return self.grounds[0]

    @cached_property
    def reference(self) -> Record:
        """The run that the others are compared with, watched."""
        naive = prepare(self.plan(expression="naive"), Clock())
        expected = {task.name: task_fingerprints(task) for task in naive.tasks}
        plan = self.plan()
        self.states = StateWatch(plan.strategy, self.folder)
        watches = (TaskWatch(expected, self.task_findings), GradientWatch(self.gradient_findings), self.states)
        return self.record(plan, *watches)
