"""The recommendation: the best on test that keeps to the constraints, and which others cannot be told from it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

from clbench.advice.candidates import Field
from clbench.advice.constraints import Constraints
from clbench.advice.race import Price, Race
from clbench.advice.runner import RUNS, Runner
from clbench.advice.scores import Score, distinguishable, ranked
from clbench.errors import RunError
from clbench.report import EXAMPLE_METRIC, compare
from clbench.results import Run

# Options of `run` by the setting they give.
OPTIONS = ("scenario", "model", "setting", "epochs", "lr", "head_lr", "batch_size", "max_length", "limit", "device")


@dataclass(frozen=True)
class Verdict:
    """What is recommended and why.

    Attributes:
        recommended: its score on test.
        indistinguishable: other finalists and allowed references whose difference from it is not established.
        scores: the last of every strategy that ran: on test, else on dev.
        references: their names.
        excluded: a reason for every strategy that cannot be recommended.
        prices: what each constraint costs.
        forgetting: by task, the mean over seeds of the drop from right after learning to the end.
        runs: of the final.
        commands: what repeats the final, and what shows it.
        model: the folder of the recommended strategy's model, where it was kept.
        untried: allowed strategies that the budget left no time for.
        alike: of the indistinguishable, those that the test examples of a single seed cannot tell from it either; None
            with several seeds, and where the metric or the stored answers do not say.
    """

    recommended: Score
    indistinguishable: tuple[str, ...]
    scores: tuple[Score, ...]
    references: tuple[str, ...]
    excluded: Mapping[str, str]
    prices: Mapping[str, Price]
    forgetting: Mapping[str, float | None]
    runs: Mapping[str, list[Run]]
    commands: tuple[str, ...]
    constraints: Constraints
    metric: str
    budget: float
    spent: float
    notes: tuple[str, ...]
    model: str | None = None
    untried: tuple[str, ...] = ()
    alike: tuple[str, ...] | None = None


def decide(runner: Runner, entrants: Field, race: Race, constraints: Constraints, metric: str) -> Verdict:
    """The verdict of a race.

    Raises:
        RunError: no finalist kept to the constraints on all data.
    """
    excluded = {**entrants.excluded, **race.excluded}
    fit = []
    for name, found in race.finals.items():
        broken = constraints.violated(found.stored_bytes, found.overhead)
        if broken:
            excluded[name] = "; ".join(broken.values())
        elif name not in excluded:
            fit.append(found)
    if not fit:
        reasons = "; ".join(f"{name} {excluded[name]}" for name in race.finals)
        raise RunError(f"no strategy kept to the constraints on all data: {reasons}")
    best = ranked(fit, metric)[0]
    equal = tuple(each.strategy for each in fit if each is not best and not distinguishable(best, each))
    scores = {**race.scores, **race.finals}
    untried = tuple(name for name in entrants.candidates if name not in scores and name not in excluded)
    forgetting = _forgetting(race.runs[best.strategy])
    return Verdict(
        best, equal, tuple(scores.values()), entrants.references, excluded, race.prices, forgetting,
        race.runs, commands(runner, best), constraints, metric, runner.budget, runner.spent, tuple(race.notes),
        untried=untried, alike=alike_on_examples(race, best, equal, metric),
    )  # fmt: skip


def alike_on_examples(race: Race, best: Score, others: Sequence[str], metric: str) -> tuple[str, ...] | None:
    """Those of ``others`` whose 95 % interval over the test examples of the only seed has 0 in it."""
    if len(best.values) > 1 or metric != EXAMPLE_METRIC:
        return None
    runs = {name: race.runs[name][0] for name in (best.strategy, *others)}
    baseline = runs[best.strategy].result["strategy"]
    tables = compare(list(runs.values()), [metric], baseline=baseline).tables
    known = {row.strategy: row.cells[metric].difference for table in tables for row in table.rows}
    alike = []
    for name in others:
        difference = known[runs[name].result["strategy"]]
        if difference is None or difference.example_low is None or difference.example_high is None:
            return None
        if difference.example_low <= 0 <= difference.example_high:
            alike.append(name)
    return tuple(alike)


def commands(runner: Runner, best: Score) -> tuple[str, ...]:
    """What repeats the recommended runs, and what compares and shows those of the final."""
    given = {key: runner.options[key] for key in OPTIONS if runner.options.get(key) is not None}
    words = [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    for key, value in runner.options.get("scenario_args", {}).items():
        words += ["--scenario-arg", f"{key}={value}"]
    seeds = [word for seed in sorted(best.values) for word in ("--seed", str(seed))]
    run = ["clbench", "run", *words, "--strategy", best.strategy, *seeds, "--output-dir", str(runner.folder / RUNS)]
    return shlex.join(run), shlex.join(["clbench", "compare", str(runner.folder / RUNS)])


def _forgetting(runs: list[Run]) -> dict[str, float | None]:
    """R[j][j] - R[T][j] for each task, over seeds; None for what was not measured."""
    drops: dict[str, float | None] = {}
    for position, task in enumerate(runs[0].result["tasks"]):
        matrices = [run.result["accuracy_matrix"] for run in runs]
        pairs = [(matrix[position + 1][position], matrix[-1][position]) for matrix in matrices]
        known = [learned - final for learned, final in pairs if learned is not None and final is not None]
        drops[task] = fsum(known) / len(known) if len(known) == len(pairs) else None
    return drops
