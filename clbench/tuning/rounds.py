"""Tuning as a whole: every strategy gets the same trials and seeds, on dev of the first tasks; test is never read."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clbench
from clbench.advice import Runner, Size
from clbench.config import RunConfig, canonical_json
from clbench.engine import Reporter, Stopped
from clbench.errors import InputError, RunError
from clbench.plugins import Plan, make_plan
from clbench.results import Tuned
from clbench.tuning.spaces import Spaces, as_mapping, check_search, ends, spaces_of, usual_values, with_values
from clbench.tuning.study import (
    Objective,
    Pruned,
    Report,
    count_trials,
    open_storage,
    open_study,
    run_trial,
    spent_seconds,
    trials_of,
)

if TYPE_CHECKING:
    from optuna import Study

USUAL_TASKS = 3
FIRST_SEED = 100  # not those that runs usually have, whose results the choice must not know
DEV = Size("tuning", None, None, "dev")
LIBRARIES = ("optuna", "torch", "transformers")


@dataclass(frozen=True)
class Effort:
    """How much is tried for each strategy.

    Attributes:
        trials: how many.
        tasks: the first so many are used, fewer than there are; None for three, or all but one.
        seeds: runs of a trial, whose mean is its score.
        budget: seconds after which no further trial of all strategies is begun; None for any number.
    """

    trials: int = 12
    tasks: int | None = None
    seeds: int = 1
    budget: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A strategy that is tuned: how it was written, its canonical name, what is tried, and what was."""

    expression: str
    name: str
    config: RunConfig
    spaces: Spaces
    study: Study


def tune(
    options: Mapping[str, Any],
    strategies: Sequence[str],
    folder: Path,
    reporter: Reporter,
    effort: Effort,
    search: Spaces,
) -> dict[str, Tuned]:
    """Try values for each strategy and return the best ones of each; the same call goes on with what was tried.

    Args:
        options: of every run, without strategy and seed.
        strategies: their expressions.
        folder: for the runs and Optuna's storage.
        reporter: takes what is tried and what fails.
        effort: how much is tried.
        search: spaces that go before the strategies' own.

    Raises:
        InputError: wrong options, or no task would be left out.
        Interrupted: a signal came; the same call goes on.
    """
    for name, number in (("--trials", effort.trials), ("--seeds", effort.seeds), ("--tasks", effort.tasks)):
        if number is not None and number < 1:
            raise InputError(f"{name} {number} is not allowed; allowed: 1 or more")
    if not strategies:
        raise InputError("--strategy is missing; `clbench list strategies` shows what there is")
    runner = Runner(options, folder, effort.budget or 0.0, reporter)
    plan = make_plan({**options, "strategy": "naive", "seed": FIRST_SEED}, made=runner.made)
    count = _count_tasks(plan, effort.tasks)
    runner.options = {**options, "first_tasks": count}
    check_search(search, strategies)
    drafts = {draft.config.strategy: draft for draft in (_check(runner, each, search) for each in strategies)}
    storage = open_storage(folder)
    candidates = [
        Candidate(draft.expression, name, draft.config, draft.spaces, open_study(storage, _study_name(draft, effort)))
        for name, draft in drafts.items()
    ]
    seeds = [FIRST_SEED + number for number in range(effort.seeds)]
    trials = _hold_rounds(candidates, lambda each: _objective(runner, each, seeds, count), effort, reporter)
    names = [task.name for task in plan.tasks]
    entries = {each.name: _entry(each, trials, seeds, names, count) for each in candidates}
    for name in (name for name, entry in entries.items() if entry is None):
        reporter.warn(f"{name}: none of its {trials} trials came to its end, so nothing is chosen for it")
    return {name: entry for name, entry in entries.items() if entry is not None}


def _count_tasks(plan: Plan, asked: int | None) -> int:
    """How many tasks are used.

    Raises:
        InputError: all would be, or one has no dev examples.
    """
    most = len(plan.tasks) - 1
    if asked is not None and asked > most:
        raise InputError(
            f"--tasks {asked} is not allowed: the scenario has {len(plan.tasks)}; allowed: 1 to {most}, for "
            "tuning must not see all"
        )
    if most < 1:
        raise InputError("the scenario has one task; tuning needs one more, which it does not see")
    count = asked or min(USUAL_TASKS, most)
    if lacking := [task.name for task in plan.tasks[:count] if not len(task.dev)]:
        raise InputError(f"task {lacking[0]!r} has no dev examples, on which values are chosen")
    return count


@dataclass(frozen=True)
class _Draft:
    expression: str
    config: RunConfig
    spaces: Spaces


def _check(runner: Runner, expression: str, search: Spaces) -> _Draft:
    """What is tried for a strategy, after making a plan of all ends of the spaces."""

    def planned(text: str, settings: Mapping[str, Any]) -> RunConfig:
        options = {**runner.options, **DEV.options(), "strategy": text, "seed": FIRST_SEED, **settings}
        return make_plan(options, made=runner.made).config

    config = planned(expression, {})
    spaces = spaces_of(config, expression, search)
    for values in ends(spaces):
        planned(*with_values(expression, values))
    return _Draft(expression, config, spaces)


def _study_name(draft: _Draft, effort: Effort) -> str:
    """The strategy and a hash of all that a score depends on; more trials of the same go on with it."""
    spaces = {name: as_mapping(space) for name, space in draft.spaces.items()}
    digest = hashlib.sha256(canonical_json([draft.config.sha256, effort.seeds, spaces]).encode()).hexdigest()
    return f"{draft.config.scenario} {draft.config.strategy} {digest[:8]}"


def _hold_rounds(
    candidates: Sequence[Candidate], objective: Callable[[Candidate], Objective], effort: Effort, reporter: Reporter
) -> int:
    """A trial of each, then the next of each, until all are done or the budget is spent; the trials of each."""
    for number in range(effort.trials):
        spent = fsum(spent_seconds(each.study) for each in candidates)
        fresh = all(count_trials(each.study) == number for each in candidates)
        if effort.budget is not None and number and fresh and spent * (number + 1) / number > effort.budget:
            reporter.say(f"the budget ends after {number} of {effort.trials} trials of each strategy")
            break
        for each in candidates:
            if count_trials(each.study) == number:
                first = usual_values(each.config, each.expression, each.spaces)
                run_trial(each.study, each.spaces, first, FIRST_SEED, objective(each))
                reporter.say(f"{each.name}, trial {number + 1} of {effort.trials}: {_told(each)}")
    return min(effort.trials, *(count_trials(each.study) for each in candidates))


def _told(candidate: Candidate) -> str:
    """How its last trial ended."""
    last = trials_of(candidate.study, candidate.spaces, count_trials(candidate.study))[-1]
    values = ", ".join(f"{name}={value}" for name, value in last.values.items())
    return f"{last.state if last.score is None else f'{last.score:.3f} {last.state}'} with {values}"


def _objective(runner: Runner, candidate: Candidate, seeds: Sequence[int], tasks: int) -> Objective:
    """The mean over seeds of the average accuracy on dev at the end."""

    def score(values: Mapping[str, Any], report: Report) -> float:
        expression, settings = with_values(candidate.expression, values)
        found = []
        for number, seed in enumerate(seeds):
            watch = _Watch(number * tasks, report)
            run = runner.run(expression, seed, DEV, watch, **settings)
            if watch.pruned:
                raise Pruned
            average = None if run is None else run.result["metrics"]["average_accuracy"]
            if average is None:
                raise RunError(f"{expression}, seed {seed}, has no score")
            found.append(float(average))
        return fsum(found) / len(found)

    return score


class _Watch(Reporter):
    """Reports the mean accuracy on the tasks learned so far, and stops the run where that is hopeless."""

    def __init__(self, first_step: int, report: Report) -> None:
        self.first_step, self.report, self.pruned = first_step, report, False

    def row(self, label: str, names: Sequence[str], row: Sequence[float | None]) -> None:
        """After the last task there is nothing more to save."""
        known = [cell for cell in row if cell is not None]
        if 0 < len(known) < len(row):
            try:
                self.report(self.first_step + len(known), fsum(known) / len(known))
            except Pruned:
                self.pruned = True
                raise Stopped(f"{label}: worse than most trials") from None


def _entry(candidate: Candidate, trials: int, seeds: list[int], names: list[str], count: int) -> Tuned | None:
    """What stands in tuned.yaml: of equally good trials the first, which is the untuned one if it is among them."""
    tried = trials_of(candidate.study, candidate.spaces, trials)
    complete = [(trial.score, trial) for trial in tried if trial.state == "complete" and trial.score is not None]
    if not complete:
        return None
    score, best = max(complete, key=lambda pair: pair[0])
    return Tuned(
        values=best.values,
        dev_score=score,
        trials=trials,
        seeds=seeds,
        tasks=names[:count],
        of_tasks=len(names),
        spaces={name: as_mapping(space) for name, space in candidate.spaces.items()},
        place={name: str(getattr(candidate.config, name)) for name in ("scenario", "setting", "model")},
        versions={
            "clbench": clbench.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        tried=tried,
    )
