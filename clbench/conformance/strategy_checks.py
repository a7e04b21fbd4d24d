"""The checks of a strategy. Most compare two short runs that must, or must not, differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any
from unittest import mock

from clbench import plugins
from clbench.clock import Clock
from clbench.conformance.checks import NOT_RESUMABLE, Check, NotApplicable, seed_everything
from clbench.conformance.fingerprints import copy_state, state_difference, task_fingerprints
from clbench.conformance.kept import kept_difference
from clbench.conformance.shared import first_task_difference
from clbench.conformance.trials import Ground, Record, Trials, difference, weights_difference
from clbench.conformance.watches import GradientWatch, Saved, StateWatch, TaskWatch
from clbench.data import learned_together
from clbench.engine import prepare
from clbench.kinds import find_kind
from clbench.plugins import Plan
from clbench.scenario import Task

# Set up before the checked strategy, to see whether that matters to it.
NEIGHBOURS = ("replay", "ewc")


class StrategyChecks:
    """The checks of the strategy of ``trials``; each method gives the reason of a failure, empty when there is none."""

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        self.task_findings: list[str] = []
        self.gradient_findings: list[str] = []
        self.short: dict[Ground, Record] = {}

    def all(self) -> list[Check]:
        """Every check, after those without which its failure would have another cause."""
        twice = ("runs", "same seed")
        others = ("state_dict", "aliases", "gradients", "task data", "hidden randomness")
        return [
            Check("loads", self.trials.load, usage=True),
            Check("runs", self.runs, ("loads",)),
            Check("state_dict", self.state_dict, ("runs",)),
            Check("aliases", self.aliases, ("runs", "state_dict")),
            Check("gradients", self.gradients, ("runs",)),
            Check("task data", self.task_data, ("runs",)),
            Check("same seed", self.same_seed, ("runs",)),
            Check("other seed", self.other_seed, twice),
            Check("hidden randomness", self.hidden_randomness, twice),
            Check("test examples", self.test_examples, twice),
            Check("test labels", self.test_labels, twice),
            Check("first task", self.first_task, twice),
            Check("resume", self.resume, (*twice, *others)),
            Check("kept model", self.kept_model, (*twice, *others, "test labels", "resume")),
        ]

    @cached_property
    def reference(self) -> Record:
        """The run that the others are compared with; watched."""
        # What a strategy makes of the rows before they are encoded is what must stay as it is.
        own = self.trials.strategy.changes_examples
        untrained = prepare(self.trials.plan(expression="" if own else "naive"), Clock())
        plan, tasks = self.trials.plan(), untrained.tasks
        expected = {
            task.name: task_fingerprints(
                learned_together(tasks, task.position, list(plan.strategy.training_tasks(task.position, len(tasks))))
            )
            for task in tasks
        }
        self.states = StateWatch(plan.strategy, self.trials.folder)
        watches = (TaskWatch(expected, self.task_findings), GradientWatch(self.gradient_findings), self.states)
        return self.trials.run(plan, *watches)

    @cached_property
    def under_other_states(self) -> Record:
        """The same run where other strategies were set up before, and the global random states are others."""
        seed_everything(1)
        for name in NEIGHBOURS:
            prepare(self.trials.plan(expression=name), Clock())
        return self.trials.run(self.trials.plan(), seed=2)

    def runs(self) -> str:
        """Whole runs complete, on every scenario and setting that the strategy supports, with a valid result."""
        assert self.reference.result
        for ground in self.trials.grounds[1:]:
            self.short[ground] = self.trials.run(self.trials.plan(ground, **self.shorter))
        return ""

    @property
    def shorter(self) -> dict[str, Any]:
        """What the runs on further grounds have otherwise; accumulation gives the hooks several batches a step."""
        return {"tasks": 2, "epochs": 1, "accumulation": 2 if self.trials.strategy.accumulates else 1}

    def state_dict(self) -> str:
        """State goes to disk and back unchanged, and from there into a strategy that was only set up."""
        if not self.trials.strategy.resumable:
            raise NotApplicable(NOT_RESUMABLE)
        if self.states.error is not None:
            raise self.states.error
        if self.states.lost:
            return self.states.lost[0]
        return next((found for saved in self.states.saved if (found := self._reloaded(saved))), "")

    def _reloaded(self, saved: Saved) -> str:
        prepared = prepare(self.trials.plan(), Clock())
        strategy, learner = prepared.strategy, prepared.learner
        learner.tasks_seen = saved.tasks_seen
        # As the engine resumes: inside a task before_task sets the task up, and the state replaces what it reset.
        strategy.load_state_dict(copy_state(saved.strategy))
        if saved.task is not None:
            strategy.before_task(learner, prepared.tasks[saved.task])
            strategy.load_state_dict(copy_state(saved.strategy))
        learner.model.load_state_dict(saved.model)
        found = state_difference(saved.strategy, strategy.state_dict())
        return f"{found} after load_state_dict into a newly set-up strategy, saved {saved.place}" if found else ""

    def aliases(self) -> str:
        """Nothing in the state is the live weights' own memory."""
        return next(iter(self.states.aliases), "")

    def gradients(self) -> str:
        """What requires grad learns; what does not stays."""
        return next(iter(self.gradient_findings), "")

    def task_data(self) -> str:
        """The strategy's tasks are naive's, but for what ``examples`` made of them, and stay so."""
        return next(iter(self.task_findings), "")

    def same_seed(self) -> str:
        """The same run twice gives the same; one that does so even under other global random states has shown it."""
        if not difference(self.reference, self.under_other_states):
            return ""
        return difference(self.reference, self.trials.run(self.trials.plan()))

    def other_seed(self) -> str:
        """Another seed gives other weights."""
        other = self.trials.run(self.trials.plan(seed=1))
        place = list(self.reference.weights)[-1]
        same = self.reference.weights[place] == other.weights.get(place)
        return f"seeds 0 and 1 give the same weights {place}" if same else ""

    def hidden_randomness(self) -> str:
        """Neither the global random states nor what was set up before matter."""
        found = difference(self.reference, self.under_other_states)
        return f"{found} under other global random states" if found else ""

    def test_examples(self) -> str:
        """Training does not depend on the test split, however the strategy might come by it."""
        place = weights_difference(self.reference, self._with_tests(_with_other_test))
        return f"with another test split the weights differ {place}" if place else ""

    def test_labels(self) -> str:
        """An answer does not depend on the true labels, however the strategy might come by them."""
        record = self._with_tests(_with_other_labels)
        answers = [{k: r.predictions[k] for k in ("prediction", "confidence")} for r in (self.reference, record)]
        found = state_difference(answers[0], answers[1], "predictions")
        return f"{found} with other test labels" if found else ""

    def _with_tests(self, change: Callable[[Task], Task]) -> Record:
        """The run with changed test splits, also for a strategy that makes the scenario's tasks by itself."""
        plan = self.trials.plan()
        scenario = plugins.load("scenario", plan.config.scenario)
        make = scenario.tasks

        def others(self: Any) -> list[Task]:
            return [change(task) for task in make(self)]

        tasks = [change(task) for task in plan.tasks]
        with mock.patch.object(scenario, "tasks", others):
            return self.trials.run(Plan(plan.config, tasks, plan.strategy))

    def first_task(self) -> str:
        """Where its hooks are said to do nothing in the first task's steps, that is so."""
        return first_task_difference(self.trials, tasks=2)

    def resume(self) -> str:
        """A run that is cut off at every kind of place, and goes on each time, ends as the uninterrupted one.

        With tasks of another kind it is cut off once, inside the second task.
        """
        if found := self.trials.cut_everywhere(self.reference):
            return found
        first = self.trials.grounds[0][0]
        for ground in (ground for ground in self.trials.grounds if ground[0] != first):
            place = f"in step 2 of {self.trials.plan(ground, **self.shorter).tasks[1].name}"
            if found := self.trials.cut_everywhere(self.short[ground], ground, place, **self.shorter):
                return f"{found}, on {ground[0]}"
        return ""

    def kept_model(self) -> str:
        """A model that is kept answers the test examples of the first kind as the run did."""
        if not self.trials.strategy.resumable:
            raise NotApplicable("resumable is False, so its state is no part of it")
        first = self.trials.grounds[0][0]
        grounds = [ground for ground in self.trials.grounds if ground[0] == first]
        for ground in dict.fromkeys((grounds[0], grounds[-1])):
            plan = self.trials.plan(ground, tasks=2, epochs=1, save_model="final")
            if found := kept_difference(plan):
                return f"{found}, in setting {ground[1]!r}"
        return ""


def _with_other_labels(task: Task) -> Task:
    """``task`` with wrong answers to its test examples."""
    return replace(task, test=find_kind(task.kind).with_other_answers(task.test, task.labels))


def _with_other_test(task: Task) -> Task:
    """``task`` with test examples of the same number and shape, turned round, and wrong answers to them."""
    changed = _with_other_labels(task)
    return replace(changed, test=find_kind(task.kind).with_other_inputs(changed.test))
