"""Tuning as a whole: every strategy gets the same trials and seeds, on dev of the first tasks; test is never read."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import clbench
from clbench.advice import Runner
from clbench.engine import Reporter, Stopped
from clbench.errors import InputError, RunError
from clbench.parallel import Together
from clbench.plugins import make_plan
from clbench.results import COMPLETE, Tried, Tuned
from clbench.tuning.candidates import DEV, FIRST_SEED, Candidate, count_tasks, find_candidates
from clbench.tuning.spaces import Spaces, as_mapping, usual_values, with_values
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

MOST = 10_000  # trials or seeds that anybody means
LIBRARIES = ("optuna", "torch", "transformers")
JUDGED_AFTER = 2  # tasks


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


class Entrant(NamedTuple):
    """A strategy and its trials."""

    candidate: Candidate
    study: Study


def tune(
    options: Mapping[str, Any],
    strategies: Sequence[str],
    folder: Path,
    reporter: Reporter,
    effort: Effort,
    search: Spaces,
    together: Together | None = None,
) -> dict[str, Tuned]:
    """Try values for each strategy and return the best ones of each; the same call goes on with what was tried.

    Args:
        options: of every run, without strategy and seed.
        strategies: their expressions.
        folder: for the runs and Optuna's storage.
        reporter: takes what is tried and what fails.
        effort: how much is tried.
        search: spaces that go before the strategies' own.
        together: makes runs of different strategies at once; one after another where it is None.

    Raises:
        InputError: wrong options, or no task would be left out.
        Interrupted: a signal came; the same call goes on.
    """
    for name, number in (("--trials", effort.trials), ("--seeds", effort.seeds), ("--tasks", effort.tasks)):
        if number is not None and not 1 <= number <= MOST:
            raise InputError(f"{name} {number} is not allowed; allowed: 1 to {MOST}")
    if not strategies:
        raise InputError("--strategy is missing; `clbench list strategies` shows what there is")
    runner = Runner(options, folder, effort.budget or 0.0, reporter)
    if together is not None:
        runner.make = together.workers.run
    plan = make_plan({**options, "strategy": "naive", "seed": FIRST_SEED}, made=runner.made)
    count = count_tasks(plan, effort.tasks)
    runner.options = {**options, "first_tasks": count}
    candidates = find_candidates(runner, strategies, search)
    storage = open_storage(folder)  # not before: what is refused leaves nothing behind
    entrants = [Entrant(each, open_study(storage, each.study_name(effort.seeds))) for each in candidates]
    seeds = [FIRST_SEED + number for number in range(effort.seeds)]
    trials = _hold_rounds(entrants, lambda each: _objective(runner, each, seeds, count), effort, reporter, together)
    names = [task.name for task in plan.tasks]
    entries = {each.candidate.name: _entry(each, trials, seeds, names, count) for each in entrants}
    for name in (name for name, entry in entries.items() if entry is None):
        reporter.warn(f"{name}: none of its {trials} trials came to its end, so nothing is chosen for it")
    return {name: entry for name, entry in entries.items() if entry is not None}


def _hold_rounds(
    entrants: Sequence[Entrant],
    objective: Callable[[Candidate], Objective],
    effort: Effort,
    reporter: Reporter,
    together: Together | None = None,
) -> int:
    """A trial of each, then the next of each, until all are done or the budget is spent; the trials of each.

    What is tried next for a strategy depends on its own trials only, so that a round's may go on at once.
    """

    def hold_trial(entrant: Entrant, number: int) -> None:
        candidate, study = entrant
        first = usual_values(candidate.config, candidate.expression, candidate.spaces)
        run_trial(study, candidate.spaces, first, FIRST_SEED, objective(candidate))
        last = trials_of(study, candidate.spaces, number + 1)[-1]
        reporter.say(f"{candidate.name}, trial {number + 1} of {effort.trials}: {_told(last)}")

    at_once = 1 if together is None else min(together.workers.at_once, len(entrants))
    for number in range(effort.trials):
        spent = fsum(spent_seconds(each.study) for each in entrants) / at_once
        fresh = all(count_trials(each.study) == number for each in entrants)
        if effort.budget is not None and number and fresh and spent * (number + 1) / number > effort.budget:
            reporter.say(f"the budget ends after {number} of {effort.trials} trials of each strategy")
            break
        due = [partial(hold_trial, each, number) for each in entrants if count_trials(each.study) == number]
        if together is None:
            for trial in due:
                trial()
        else:
            ended = list(together.as_they_end(due))  # all, with their states saved, before an interruption is told
            together.check()
            for _, outcome in ended:
                outcome.result()
    return min(effort.trials, *(count_trials(each.study) for each in entrants))


def _told(trial: Tried) -> str:
    """How a trial ended."""
    values = ", ".join(f"{name}={value}" for name, value in trial.values.items())
    return f"{trial.state if trial.score is None else f'{trial.score:.3f} {trial.state}'} with {values}"


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
    """Reports the mean accuracy on the tasks learned so far, and stops the run where that is hopeless.

    Not before JUDGED_AFTER tasks: after the first one nothing can be forgotten, and the fastest learner would win.
    """

    def __init__(self, first_step: int, report: Report) -> None:
        self.first_step, self.report, self.pruned = first_step, report, False

    def row(self, label: str, names: Sequence[str], row: Sequence[float | None]) -> None:
        """After the last task there is nothing more to save."""
        known = [cell for cell in row if cell is not None]
        if JUDGED_AFTER <= len(known) < len(row):
            try:
                self.report(self.first_step + len(known), fsum(known) / len(known))
            except Pruned:
                self.pruned = True
                raise Stopped(f"{label}: worse than most trials") from None


def _entry(entrant: Entrant, trials: int, seeds: list[int], names: list[str], count: int) -> Tuned | None:
    """What stands in tuned.yaml: of equally good trials the first, which is the untuned one if it is among them."""
    candidate, study = entrant
    tried = trials_of(study, candidate.spaces, trials)
    complete = [(trial.score, trial) for trial in tried if trial.state == COMPLETE and trial.score is not None]
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
