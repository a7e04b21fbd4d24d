"""Plans for `run`, `resume` and `check`: everything is checked before anything starts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import clbench
from clbench import engine
from clbench.commands.progress import TerminalReporter
from clbench.commands.trackers import check_trackers
from clbench.config import NOT_SCIENCE, WORKED_OUT, identity, read_config_file
from clbench.errors import InputError
from clbench.models import device_is_there, ranks
from clbench.parallel import take_part
from clbench.plugins import Made, Plan, literal, make_plan
from clbench.results import RunFolder, Tuned, find_tuned, read_tuned
from clbench.text import shorten
from clbench.tuning import with_values

MOST_SEEDS = 10_000
# What a setting that is worked out is called in an error line.
IN_WORDS = {
    "plugin_hashes": "its plug-ins",
    "source_sha256": "its data",
    "data_sha256": "its data",
    "model_sha256": "its model",
}

LENGTHS = ("epochs", "min_steps")  # what a task's number of steps is worked out from where it is not given


def plan_runs(
    options: dict[str, Any],
    strategies: Sequence[str],
    seeds: Sequence[str],
    scenario_arguments: Sequence[str],
    config_file: Path | None,
    tuned_file: Path | None = None,
    part: tuple[int, int] | None = None,
) -> list[Plan]:
    """A checked plan for every strategy and seed, before any of them starts.

    Args:
        options: settings given on the command line.
        strategies, seeds: those given; the config file's or the defaults where empty.
        scenario_arguments: ``K=V`` strings; V is a Python literal or else a string.
        config_file: a YAML file of settings that the command line overrides; ``strategy`` and ``seed`` may be lists.
        tuned_file: what ``clbench tune`` wrote, from which each strategy's values come.
        part: plan only the K-th of N parts; there may be nothing in it, which is said.
    """
    if "task_steps" in options and "epochs" in options:
        raise InputError("--steps and --epochs cannot be given together; leave one of them away")
    base = with_options(read_config_file(config_file) if config_file else {}, options)
    arguments = key_values(scenario_arguments)
    in_file = base.get("scenario_args") or {}
    if arguments and isinstance(in_file, dict):  # what else it is, make_plan refuses
        base["scenario_args"] = {**in_file, **arguments}
    expressions = _once(list(strategies) or _listed(base.get("strategy", "")))
    numbers = [seed for given in (list(seeds) or _listed(base.get("seed", 0))) for seed in _seeds(given)]
    for name, listed in (("strategy", expressions), ("seed", numbers)):
        if not listed:
            raise InputError(f"{name} = [] in {str(config_file)!r} is not allowed; allowed: one or more")
    made: Made = {}
    chosen: list[dict[str, Any]] = [{"strategy": expression} for expression in expressions]
    if tuned_file is not None:
        entries = read_tuned(tuned_file)
        one = {**base, "seed": numbers[0]}
        chosen = [_tuned_settings({**one, **each}, entries, tuned_file, made) for each in chosen]
    for each in chosen:
        check_length({**base, **each})
    wanted = [{**base, **each, "seed": seed} for each in chosen for seed in _once(numbers)]
    if part is not None and not (own := take_part(wanted, *part)):
        TerminalReporter().say(f"nothing to run in part {part[0]}/{part[1]} of {len(wanted)} runs")
    plans = [make_plan(options, made=made) for options in (wanted if part is None else own)]
    if plans:
        check_trackers(plans[0].config.track)
    return plans


def with_options(in_file: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """A file's settings with the options over them, of which one for a task's length goes before the file's other."""
    replaced = {"task_steps"} if "epochs" in options else set(LENGTHS) if "task_steps" in options else set()
    return {**{key: value for key, value in in_file.items() if key not in replaced}, **options}


def check_length(settings: Mapping[str, Any]) -> None:
    """Refuse epochs, or a least number of steps, that would count for nothing beside a number of steps."""
    for name in LENGTHS:
        if settings.get("task_steps") is not None and settings.get(name) is not None:
            both = f"task_steps = {settings['task_steps']} and {name} = {settings[name]}"
            raise InputError(f"{both} cannot be given together; leave one of them away")


def _tuned_settings(options: Mapping[str, Any], entries: Mapping[str, Tuned], path: Path, made: Made) -> dict[str, Any]:
    """The settings that the file at ``path`` has for a strategy, which gets its tuned arguments.

    Raises:
        InputError: it has no such strategy, or a value is given another time.
    """
    config = make_plan({**options}, made=made).config
    entry = find_tuned(entries, config.strategy, path)
    expression, settings = with_values(options["strategy"], entry.values)
    if twice := [name for name in settings if name in options]:
        option = twice[0].replace("_", "-")
        raise InputError(f"--{option} cannot be given with --tuned, whose file sets it; leave one of them away")
    for name in ("scenario", "setting", "model"):
        if (own := getattr(config, name)) != (value := entry.place.get(name)):
            TerminalReporter(-1).note(f"{config.strategy} was tuned with {name} {value}, this run has {own}")
    return {"strategy": expression, **settings, "tuned": True}


def plan_again(folder: Path, save_model: str | None = None) -> Plan:
    """The plan of the run in ``folder``, from its config.json.

    Args:
        folder: a run's.
        save_model: which models to keep; what the run was begun with where it is None.

    Raises:
        InputError: the folder holds no run, or its plug-ins, its data, its model or clbench changed since it was begun.
    """
    allowed = "allowed: a run's folder (`clbench list runs`)"
    if not os.path.isfile(folder / "config.json"):  # not is_file(), which raises for a name too long
        raise InputError(f"{str(folder)!r} holds no run (no config.json); {allowed}")
    stored = RunFolder(folder).read_config()
    if "hash8" not in stored:  # models and other tools have files of this name, too
        raise InputError(f"{str(folder)!r} holds no run (its config.json is another's); {allowed}")
    if "trainer" in stored:
        raise InputError(
            f"{str(folder)!r} was made inside a Trainer; start its script again, which with state_dir goes on"
        )
    config = {key: value for key, value in stored.items() if key not in ("hash8", "clbench", *WORKED_OUT)}
    if save_model is not None:
        config["save_model"] = save_model
    if isinstance(config.get("device"), str) and not device_is_there(config["device"]):
        config["device"] = "auto"  # begun on another machine; that it goes on elsewhere is told
    if ranks.count() > 1 and str(config.get("device")).startswith("cuda:"):
        config["device"] = "cuda"  # the first process's; each has its own
    place = folder.resolve()
    if len(place.parents) < 3:
        raise InputError(f"{str(folder)!r} lies in no results folder; allowed: RESULTS/SCENARIO/STRATEGY/RUN")
    # A run that was begun with --overwrite goes on too, and a finished one is read.
    plan = make_plan({**config, "output_dir": str(place.parents[2]), "overwrite": False})
    if plan.config.sha256 != identity(stored):
        now = {**plan.config.model_dump(), "clbench": clbench.__version__}
        changed = {
            IN_WORDS.get(key, key): None for key in now if key not in NOT_SCIENCE and now[key] != stored.get(key)
        }
        raise InputError(
            f"{folder} was begun with other contents: {', '.join(changed) or 'its settings'} changed since; "
            "restore them, or run the command again to start a new run"
        )
    if (expected := engine.run_folder(plan.config).path.resolve()) != place:
        raise InputError(f"{folder} was renamed or moved: its run belongs to {expected}; move it back to go on")
    return plan


def key_values(texts: Sequence[str]) -> dict[str, Any]:
    """The values of ``--scenario-arg``: each a Python literal or else a string."""
    return dict(map(_key_value, texts))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _once(values: Sequence[Any]) -> list[Any]:
    """``values`` without repetition; they need not be hashable, as what they are is checked later."""
    return [value for number, value in enumerate(values) if value not in values[:number]]


def _seeds(given: object) -> Iterable[object]:
    """The seeds that ``given`` spells: a number, or a text such as ``0-4`` or ``0,2,5-7``."""
    if not isinstance(given, str):
        return [given]
    numbers: list[int] = []
    for part in given.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,18})(?:-([0-9]{1,18}))?\s*", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if not first <= last < first + MOST_SEEDS:
            allowed = f"a number, 0-4 or 0,2,5 (at most {MOST_SEEDS} seeds)"
            raise InputError(f"--seed = {shorten(given, 60)} is not allowed; allowed: {allowed}")
        numbers += range(first, last + 1)
    return numbers


def _key_value(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise InputError(f"--scenario-arg {text!r} cannot be read; write K=V, such as train=300")
    try:
        return key, literal(value, key)
    except InputError:
        return key, value
