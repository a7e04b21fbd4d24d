"""Successive halving over strategies (Jamieson & Talwalkar 2016): few data first, the best go on to more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from clbench.advice.candidates import FLOOR, Field
from clbench.advice.constraints import Constraints
from clbench.advice.runner import Runner, Size
from clbench.advice.schedule import FINAL, USUAL_OVERHEAD, Schedule, ladders, make_schedule
from clbench.advice.scores import Score, gap, ranked, score
from clbench.errors import InputError
from clbench.plugins import make_plan
from clbench.results import Run

ETA = 3  # of so many candidates one goes on


@dataclass(frozen=True)
class Price:
    """What a constraint costs: how much better ``strategy``, which only it forbids, was in ``stage`` on dev."""

    loss: float
    strategy: str
    stage: str


@dataclass
class Race:
    """What has come of it so far.

    Attributes:
        scores: the last on dev of every strategy that ran.
        prices: by constraint.
        finals, runs: scores and runs on test of finalists and references.
        finalists: the best on dev first.
        excluded: strategies that broke a constraint or failed, with the reason.
        notes: what did not fit into the budget.
    """

    scores: dict[str, Score] = field(default_factory=dict)
    prices: dict[str, Price] = field(default_factory=dict)
    finals: dict[str, Score] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    finalists: tuple[str, ...] = ()
    excluded: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def hold_race(runner: Runner, entrants: Field, constraints: Constraints, metric: str, seeds: int) -> Race:
    """Race on dev, then run the finalists and the references on all data with each seed, and read test once.

    Raises:
        InputError: the budget is too small for one run of each that must run.
    """
    race = Race()
    schedule = _schedule(runner, entrants, seeds)
    allowed = list(entrants.candidates)
    shadows: dict[str, tuple[str, ...]] = {}
    for constraint, names in entrants.shadows.items():
        shadows |= dict.fromkeys(names, (constraint,))
    for number, size in enumerate(schedule.stages):
        scores = _run_stage(runner, race, [*allowed, *shadows], size, metric, schedule.racing)
        if number and len(scores) < 2:
            break  # there was time for naive alone: what the stage before said stands
        for each in scores:
            broken = constraints.violated(each.stored_bytes, each.overhead)
            if broken and each.strategy not in shadows:
                race.excluded[each.strategy] = "; ".join(broken.values())
                shadows[each.strategy] = tuple(broken)
        fit = ranked([each for each in scores if each.strategy in allowed and each.strategy not in shadows], metric)
        forbidden = _best_forbidden(scores, shadows, metric)
        for constraint, best in forbidden.items():
            loss = max(0.0, gap(best, fit[0], metric)) if fit else 0.0
            race.prices[constraint] = Price(loss, best.strategy, size.stage)
        allowed = [each.strategy for each in fit[: max(schedule.finalists, ceil(len(fit) / ETA))]]
        shadows = {best.strategy: (constraint,) for constraint, best in forbidden.items()}
    race.finalists = tuple(allowed[: schedule.finalists])
    _run_final(runner, race, list(dict.fromkeys((*entrants.references, *race.finalists))), metric, seeds)
    return race


def _schedule(runner: Runner, entrants: Field, seeds: int) -> Schedule:
    """The budget shared out by what naive took at the smallest size."""
    tasks = make_plan({**runner.options, "strategy": FLOOR, "eval_split": "dev"}, made=runner.made).tasks
    most = max(len(task.train) for task in tasks)
    sizes = ladders(min(most, runner.options.get("limit") or most))
    smallest = sizes[-1][0]
    run = runner.run(FLOOR, 0, smallest)
    if run is None:
        raise InputError(f"naive fine-tuning {runner.failed[FLOOR]}")
    unit = float(run.result["cost"]["wall_seconds"]) / runner.work(smallest)
    counts = len(entrants.references), len(entrants.candidates) + sum(map(len, entrants.shadows.values()))
    schedule = make_schedule(sizes, lambda size: unit * runner.work(size), runner.budget - runner.spent, *counts, seeds)
    return Schedule(schedule.stages, schedule.racing + runner.spent, schedule.finalists)


def _run_stage(runner: Runner, race: Race, names: Sequence[str], size: Size, metric: str, racing: float) -> list[Score]:
    """Scores of all for which there is time at this size, naive first."""
    naive = runner.run(FLOOR, 0, size)
    if naive is None:
        raise InputError(f"naive fine-tuning {runner.failed[FLOOR]}")
    scores, late = [], []
    for name in dict.fromkeys((FLOOR, *names)):
        overhead = race.scores[name].overhead if name in race.scores else None
        expected = float(naive.result["cost"]["wall_seconds"]) * (overhead or USUAL_OVERHEAD)
        if name != FLOOR and runner.spent + expected > racing:
            late.append(name)
            continue
        run = naive if name == FLOOR else runner.run(name, 0, size)
        found = score(name, [run], [naive], metric, size.stage) if run else None
        if found is None:
            race.excluded[name] = runner.failed.get(name, f"has no {metric} on these data")
        else:
            scores.append(found)
            race.scores[name] = found
    if late:
        race.notes.append(f"{size.stage}: no time for {', '.join(late)}")
    return scores


def _best_forbidden(scores: Sequence[Score], shadows: Mapping[str, tuple[str, ...]], metric: str) -> dict[str, Score]:
    """For each constraint the best of those that it alone forbids."""
    best: dict[str, Score] = {}
    for each in ranked([each for each in scores if len(shadows.get(each.strategy, ())) == 1], metric):
        best.setdefault(shadows[each.strategy][0], each)
    return best


def _run_final(runner: Runner, race: Race, names: Sequence[str], metric: str, seeds: int) -> None:
    """All data, seed after seed while the budget lasts; the first seed in any case."""
    for seed in range(seeds):
        last = sum(float(runs[-1].result["cost"]["wall_seconds"]) for runs in race.runs.values())
        if seed and runner.spent + last > runner.budget:
            race.notes.append(f"final: {seed} of {seeds} seeds; another takes about {last:.0f} s")
            break
        for name in names:
            if (run := runner.run(name, seed, FINAL)) is not None:
                race.runs.setdefault(name, []).append(run)
    score_finals(race, metric)


def score_finals(race: Race, metric: str) -> None:
    """Work the scores of the final out from its runs."""
    for name, runs in race.runs.items():
        if (found := score(name, runs, race.runs.get(FLOOR, []), metric, FINAL.stage)) is not None:
            race.finals[name] = found
