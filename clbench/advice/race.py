"""Successive halving over strategies (Jamieson & Talwalkar 2016): few data first, the best go on to more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from clbench.advice.candidates import FLOOR, Field
from clbench.advice.constraints import TASK_KNOWN, Constraints
from clbench.advice.runner import Runner, Size
from clbench.advice.schedule import FINAL, USUAL_OVERHEAD, Schedule, count_finalists, ladders, make_schedule
from clbench.advice.scores import Score, gap, ranked, score
from clbench.errors import InputError
from clbench.plugins import make_plan
from clbench.results import Run

ETA = 3  # of so many candidates one goes on
ISOLATED = "lora_per_task"  # good and cheap where the task is known


@dataclass(frozen=True)
class Price:
    """What a constraint costs: how much better ``strategy`` was in ``stage`` on dev, which only it forbids.

    What an unknown task costs is measured with the best strategy, and one that keeps tasks apart, told the task.
    """

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
        if number and runner.spent + schedule.seconds(size) * (1 + 2 * USUAL_OVERHEAD) > schedule.racing:
            race.notes.append(f"{size.stage}: no time for naive and two others")
            break  # what the stage before said stands
        scores = _run_stage(runner, race, allowed, shadows, size, metric, schedule.racing)
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
        if constraints.task_known is False and fit:
            _price_the_task(runner, race, fit[0], size, metric, schedule.racing)
        allowed = [each.strategy for each in fit[: max(schedule.finalists, ceil(len(fit) / ETA))]]
        shadows = {best.strategy: (constraint,) for constraint, best in forbidden.items()}
    left = runner.budget - runner.spent  # what the race has left over
    many = count_finalists(left, schedule.seconds, len(entrants.references), seeds)
    race.finalists = tuple(allowed[: max(many, schedule.finalists)])
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
    cost = run.result["cost"]
    fixed = cost["wall_seconds"] - cost["train_seconds"] - cost["eval_seconds"]  # loading the model, above all
    unit = (cost["wall_seconds"] - fixed) / runner.work(smallest)
    counts = len(entrants.references), len(entrants.candidates) + sum(map(len, entrants.shadows.values()))

    def seconds(size: Size) -> float:
        return float(fixed + unit * runner.work(size))

    schedule = make_schedule(sizes, seconds, runner.budget - runner.spent, *counts, seeds, runner.spent)
    return replace(schedule, racing=schedule.racing + runner.spent)


def _expected(naive: Run, known: Score | None) -> float:
    """Seconds that a strategy will take where ``naive`` ran, by what it took in an earlier stage."""
    return float(naive.result["cost"]["wall_seconds"]) * ((known and known.overhead) or USUAL_OVERHEAD)


def _run_stage(
    runner: Runner, race: Race, allowed: Sequence[str], forbidden: Iterable[str], size: Size, metric: str, racing: float
) -> list[Score]:
    """Scores of all for which there is time at this size, naive first, the ``forbidden`` last."""
    naive = runner.run(FLOOR, 0, size)
    if naive is None:
        raise InputError(f"naive fine-tuning {runner.failed[FLOOR]}")
    scores, late = [], []
    for name in dict.fromkeys((FLOOR, *allowed, *forbidden)):
        if name != FLOOR and runner.spent + _expected(naive, race.scores.get(name)) > racing:
            late.append(name)
            continue
        run = naive if name == FLOOR else runner.run(name, 0, size)
        found = score(name, [run], [naive], metric, size.stage) if run else None
        if found is None:
            race.excluded[name] = runner.failed.get(name, f"has no {metric} on these data")
        else:
            scores.append(found)
            race.scores[name] = found
    if untried := [name for name in late if name in allowed]:
        race.notes.append(f"{size.stage}: no time for {', '.join(untried)}")
    return scores


def _best_forbidden(scores: Sequence[Score], shadows: Mapping[str, tuple[str, ...]], metric: str) -> dict[str, Score]:
    """For each constraint the best of those that it alone forbids."""
    best: dict[str, Score] = {}
    for each in ranked([each for each in scores if len(shadows.get(each.strategy, ())) == 1], metric):
        best.setdefault(shadows[each.strategy][0], each)
    return best


def _price_the_task(runner: Runner, race: Race, best: Score, size: Size, metric: str, racing: float) -> None:
    """Run ``best`` and a strategy that keeps tasks apart where the task is known, if that can be and there is time."""
    naive, told = runner.run(FLOOR, 0, size), []
    for name in dict.fromkeys((best.strategy, ISOLATED)):
        if naive is None or runner.spent + _expected(naive, race.scores.get(name)) > racing:
            continue
        try:
            run = runner.run(name, 0, size, setting="task")
        except InputError:  # neither every scenario nor every strategy has this setting
            continue
        if run and (found := score(name, [run], [], metric, size.stage)) is not None:
            told.append(found)
    for winner in ranked(told, metric)[:1]:
        race.prices[TASK_KNOWN] = Price(max(0.0, gap(winner, best, metric)), winner.strategy, size.stage)


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
