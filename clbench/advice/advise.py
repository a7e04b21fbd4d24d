"""From data and constraints to a recommendation: who takes part, the race, what is recommended, the pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clbench.advice.candidates import choose_field
from clbench.advice.constraints import Constraints
from clbench.advice.pages import write_pages
from clbench.advice.race import hold_race, score_finals
from clbench.advice.runner import Runner
from clbench.advice.schedule import FINAL
from clbench.advice.verdict import Verdict, decide
from clbench.engine import Reporter
from clbench.errors import InputError, unknown
from clbench.plugins import load, make_plan
from clbench.results import METRICS
from clbench.scenario import Task

SMALL, LARGE = 1_000, 10_000
RULES = (
    "under 1,000 examples: freeze the model, or use its frozen features",
    "1,000 to 10,000 examples: adapters, or a smaller learning rate for the body than for the output layer",
    "above 10,000 examples: full fine-tuning",
)


def give_advice(
    options: Mapping[str, Any],
    constraints: Constraints,
    folder: Path,
    reporter: Reporter,
    say: Callable[[str], None],
    *,
    budget: float = 1800.0,
    seeds: int = 3,
    metric: str = "average_accuracy",
    strategies: Sequence[str] = (),
    save_model: bool = False,
) -> Verdict:
    """Race the strategies that the constraints allow and recommend one; writes advice.json and advice.md.

    Args:
        options: of a run, without strategy and seed; a setting that is not given follows from ``task_known``.
        constraints: what the recommended strategy must keep to.
        folder: where the runs and the pages go; a race that was stopped goes on there.
        reporter: of the runs.
        say: takes a line about the data and about what is decided.
        budget: seconds for all runs.
        seeds: of the final.
        metric: what is compared.
        strategies: expressions to race; without any, every built-in one and a few stacks.
        save_model: keep the recommended strategy's model of the first seed, trained once more with the same numbers.

    Raises:
        InputError: wrong options, constraints that contradict the setting, or a budget that is too small.
        Interrupted: a signal came; the same call goes on.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    if seeds < 1:
        raise InputError(f"--seeds {seeds} is not allowed; allowed: 1 or more")
    runner = Runner({**options, "setting": _setting(options, constraints)}, folder, budget, reporter)
    plan = make_plan({**runner.options, "strategy": "naive"}, made=runner.made)
    entrants = choose_field(runner.options, constraints, runner.made, strategies)
    try:
        folder.mkdir(parents=True, exist_ok=True)  # not before: what is refused leaves nothing behind
    except OSError as error:
        raise InputError(f"--output {str(folder)!r} cannot be a folder: {error.strerror}") from error
    for note in plan.notes:
        say(note)
    say(describe_tasks(plan.tasks, plan.config.setting))
    race = hold_race(runner, entrants, constraints, metric, seeds)
    verdict = decide(runner, entrants, race, constraints, metric)
    if save_model:
        best = verdict.recommended.strategy
        if (kept := runner.run(best, min(verdict.recommended.values), FINAL, save_model="final")) is not None:
            race.runs[best][0] = kept  # the same numbers, another time
            score_finals(race, metric)
            verdict = replace(decide(runner, entrants, race, constraints, metric), model=str(kept.folder / "model"))
    write_pages(folder, verdict, say)
    return verdict


def describe_tasks(tasks: Sequence[Task], setting: str) -> str:
    """What the data look like, with the rule of practice for so many examples; the runs check it."""
    examples = sum(len(task.train) for task in tasks)
    rule = RULES[0 if examples < SMALL else 1 if examples <= LARGE else 2]
    sizes = ", ".join(f"{task.name} ({len(task.train)} examples, {len(task.labels)} labels)" for task in tasks)
    return f"{len(tasks)} tasks, setting {setting}: {sizes}\nrule of practice, {rule}; a hint, which the runs check"


def _setting(options: Mapping[str, Any], constraints: Constraints) -> str:
    """The setting that was asked for or that ``task_known`` means, checked against each other."""
    scenario = load("scenario", str(options["scenario"]), options.get("scenario_args"))
    asked, known = options.get("setting"), constraints.task_known
    if asked is not None:
        if known is not None and known != (asked == "task"):
            means = "task" if known else "domain or class"
            raise InputError(
                f"--task-known {'yes' if known else 'no'} contradicts --setting {asked}; allowed with it: {means}"
            )
        return str(asked)
    if known is None:
        return str(scenario.settings[0])
    fitting = [name for name in scenario.settings if (name == "task") == known]
    if not fitting:
        raise InputError(
            f"--task-known {'yes' if known else 'no'} cannot be had with this scenario, whose settings are "
            f"{', '.join(scenario.settings)}"
        )
    return str(fitting[0])
