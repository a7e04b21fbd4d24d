"""What `run` and `resume` do: plan everything first, then run one after another."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clbench import engine, report
from clbench.commands.progress import TerminalReporter
from clbench.config import NOT_SCIENCE, read_config_file
from clbench.engine import profile_lines
from clbench.errors import InputError, RunError
from clbench.plugins import Plan, literal, make_plan
from clbench.results import Run, RunFolder


def plan_runs(
    options: dict[str, Any],
    strategies: Sequence[str],
    seeds: Sequence[int],
    scenario_arguments: Sequence[str],
    config_file: Path | None,
) -> list[Plan]:
    """A checked plan for every strategy and seed, before any of them starts.

    Args:
        options: settings given on the command line.
        strategies, seeds: those given; the config file's or the defaults where empty.
        scenario_arguments: ``K=V`` strings; V is a Python literal or else a string.
        config_file: a YAML file of settings that the command line overrides.
    """
    base = {**(read_config_file(config_file) if config_file else {}), **options}
    arguments = dict(map(_key_value, scenario_arguments))
    in_file = base.get("scenario_args") or {}
    if arguments and isinstance(in_file, dict):  # what else it is, make_plan refuses
        base["scenario_args"] = {**in_file, **arguments}
    expressions = list(strategies) or [base.get("strategy", "")]
    return [
        make_plan({**base, "strategy": expression, "seed": seed})
        for expression in dict.fromkeys(expressions)
        for seed in dict.fromkeys(seeds or [base.get("seed", 0)])
    ]


def plan_again(folder: Path) -> Plan:
    """The plan of the run in ``folder``, from its config.json.

    Raises:
        InputError: the folder holds no run, or its plug-ins or clbench changed since it was begun.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"{str(folder)!r} holds no run (no config.json); allowed: a run's folder, see `list runs`")
    config = RunFolder(folder).read_config()
    hash8 = config.pop("hash8", None)
    for key in ("plugin_hashes", "clbench"):
        config.pop(key, None)
    place = folder.resolve()
    if len(place.parents) < 3:
        raise InputError(f"{str(folder)!r} lies in no results folder; allowed: RESULTS/SCENARIO/STRATEGY/RUN")
    plan = make_plan({**config, "output_dir": str(place.parents[2]), "overwrite": False})
    if plan.config.hash8 != hash8:
        raise InputError(
            f"{folder} was begun with other sources or settings (hash {hash8}, now {plan.config.hash8}): clbench or a "
            "plug-in changed since; run the command again to start a new run"
        )
    if (expected := engine.run_folder(plan.config).path.resolve()) != place:
        raise InputError(f"{folder} was renamed or moved: its run belongs to {expected}; move it back to go on")
    return plan


def print_plans(plans: Sequence[Plan]) -> int:
    """Say what would be run, with every resolved value."""
    for plan in plans:
        values = {k: v for k, v in plan.config.model_dump().items() if k not in NOT_SCIENCE and k != "plugin_hashes"}
        print(f"{engine.run_folder(plan.config).path}\n{json.dumps(values, indent=2, default=list)}")
    return 0


def run_plans(plans: Sequence[Plan], verbosity: int) -> int:
    """Run each plan, print its summary, and compare when there are several. A failed run does not stop the others."""
    reporter = TerminalReporter(verbosity)
    runs, failed = [], 0
    for plan in plans:
        config, folder = plan.config, engine.run_folder(plan.config)
        if len(plans) > 1:
            reporter.say(f"{config.strategy} on {config.scenario}, {config.model}, seed {config.seed}")
        try:
            result = engine.run(plan, reporter)
        except RunError as error:
            print(f"error: {config.strategy}, seed {config.seed}: {error}", file=sys.stderr)
            failed += 1
            continue
        finished = Run(folder.path, result, folder.read_config())
        _draw(finished)
        runs.append(finished)
        print(f"{report.result_summary(result)}\nrun folder: {folder.path}\n")
        if config.profile:
            _print_profile(result)
    if len(runs) > 1:
        print(report.render(report.compare(runs)))
        for path in _draw_comparison(runs):
            print(f"plot: {path}")
    return 1 if failed else 0


def _print_profile(result: dict[str, Any]) -> None:
    if "profile" not in result["cost"]:
        print("no profile: the run was finished without --profile; give --overwrite to run it again\n", file=sys.stderr)
        return
    print("\n".join([*profile_lines(result["cost"]["profile"]), ""]))


def _draw(run: Run) -> None:
    for name, draw in (("matrix.png", report.plot_matrix), ("curves.png", report.plot_curves)):
        if not (run.folder / name).exists():
            draw([run], run.folder / name)


def _draw_comparison(runs: Sequence[Run]) -> list[Path]:
    """Curves and trade-off of several runs, beside the strategies' folders."""
    names = "\n".join(sorted(run.folder.name + str(run.result["strategy"]) for run in runs))
    stem = f"comparison-{hashlib.sha256(names.encode()).hexdigest()[:8]}"
    folder = runs[0].folder.parents[1]
    paths = [folder / f"{stem}-curves.png", folder / f"{stem}-tradeoff.png"]
    report.plot_curves(runs, paths[0])
    report.plot_tradeoff(runs, paths[1])
    return paths


def _key_value(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise InputError(f"--scenario-arg {text!r} cannot be read; write K=V, such as train=300")
    try:
        return key, literal(value, key)
    except InputError:
        return key, value
