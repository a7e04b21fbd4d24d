"""``clbench.run``: strategies on a scenario from Python, as `clbench run` does it at the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clbench.commands.trackers import check_trackers
from clbench.commands.tracking import TrackingReporter
from clbench.engine import Reporter, run_one
from clbench.errors import InputError, RunError
from clbench.models import keep_given
from clbench.plugins import Made, Plan, canonical, component_of, make_plan
from clbench.report import Runs
from clbench.results import Run
from clbench.scenario import Scenario
from clbench.strategy import Strategy


def run(
    *,
    scenario: str | Path | Scenario | type[Scenario],
    strategies: Sequence[str | Path | Strategy | type[Strategy]],
    seeds: Sequence[int] = (0,),
    model: object = None,
    tokenizer: Any = None,
    verbosity: int = 0,
    **settings: Any,
) -> Runs:
    """Run each strategy with each seed; what is finished is read, what is unfinished goes on.

    Everything is planned and checked before the first run starts.

    Args:
        scenario: a name, a file, a class or an object; an object's seed does not count, that of each run does.
        strategies: names, expressions such as ``"replay+ewc"``, files, classes or objects.
        seeds: of the runs.
        model: a name, a folder or a hub id; or a model that transformers loaded: every run starts from what it is now,
            which is kept in the cache folder.
        tokenizer: of such a model, where none lies where it was loaded from.
        verbosity: of progress on stderr; -1 is silent.
        settings: ``epochs``, ``output_dir``, ``track`` and all others of :class:`clbench.config.RunConfig`; None is a
            setting that was not given.

    Raises:
        InputError: something unknown, or that does not fit together; nothing was started.
        RunError: a run failed; the others are finished and can be read with :func:`clbench.load_runs`.
    """
    if isinstance(strategies, str | Path | Strategy) or not isinstance(strategies, Sequence) or not strategies:
        raise InputError(f"strategies = {strategies!r} is not allowed; allowed: a list of strategies, such as ['ewc']")
    if tokenizer is not None and (model is None or isinstance(model, str | Path)):
        raise InputError("tokenizer is for a model that is an object; leave it away")
    if model is not None:
        settings["model"] = str(model) if isinstance(model, str | Path) else str(keep_given(model, tokenizer))
    objects: dict[str, type[Any]] = {}
    name, arguments = _named("scenario", scenario, objects)
    if arguments:
        settings = {**settings, "scenario_args": {**arguments, **(settings.get("scenario_args") or {})}}
    if isinstance(scenario, Scenario) and settings.get("setting") is None:
        settings = {**settings, "setting": scenario.setting}
    expressions = [_expression(strategy, objects) for strategy in strategies]
    made: Made = {}
    plans = [
        make_plan({**settings, "scenario": name, "strategy": expression, "seed": seed}, objects, made)
        for expression in dict.fromkeys(expressions)
        for seed in dict.fromkeys(seeds)
    ]
    check_trackers(plans[0].config.track if plans else ())
    return _run_all(plans, TrackingReporter(verbosity))


def _run_all(plans: list[Plan], reporter: Reporter) -> Runs:
    runs: list[Run] = []
    failures, count = [], len(plans)
    while plans:
        name = f"{plans[0].config.strategy}, seed {plans[0].config.seed}"
        try:
            runs.append(run_one(plans.pop(0), reporter))
        except (InputError, RunError) as error:
            failures.append(f"{name}: {error}")
    if failures:
        raise RunError(f"{len(failures)} of {count} runs failed: {'; '.join(failures)}")
    return Runs(runs)


def _expression(strategy: object, objects: dict[str, type[Any]]) -> str:
    if isinstance(strategy, str | Path):
        return str(strategy)
    component, cls = component_of(strategy)
    if objects.setdefault(f"strategy:{component.name}", cls) is not cls:
        raise InputError(f"two classes are called {component.name!r}; give each a name of its own")
    return canonical((component,))


def _named(kind: str, plugin: object, objects: dict[str, type[Any]]) -> tuple[str, dict[str, Any]]:
    """The name that a plan finds ``plugin`` by, and the arguments that it was made with."""
    if isinstance(plugin, str | Path):
        return str(plugin), {}
    component, cls = component_of(plugin)
    objects[f"{kind}:{component.name}"] = cls
    return component.name, component.arguments
