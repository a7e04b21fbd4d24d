"""From a user's options to a checked plan: configuration, tasks, strategies. Loads no model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from clbench.config import WORKED_OUT, RunConfig, canonical_json, make_config
from clbench.errors import InputError, unknown
from clbench.files import expand
from clbench.kinds import ABILITIES, Kind, available_kinds, find_kind, kind_name
from clbench.models import check_kind, choose_device, choose_precision, model_identity, refuse_several_processes
from clbench.plugins.building import ask, construct, load
from clbench.plugins.members import build_strategies, locate
from clbench.plugins.processes import check_processes
from clbench.scenario import Scenario, Task
from clbench.sources import canonical_model
from clbench.strategy import Stack, check_optimizer_state, check_own_labels, check_stack
from clbench.tasks import check_tasks, data_hash, label_space


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start.

    ``notes`` is what the scenario says of its data as a whole, ``sources`` are the packages that it reads, ``shared``
    is a folder for what the runs of one command do once.
    """

    config: RunConfig
    tasks: Sequence[Task]
    strategy: Stack
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    shared: Path | None = None


class MadeTasks(NamedTuple):
    """Tasks that were made and checked, the hash of their data, what the scenario says of them, and its sources."""

    tasks: Sequence[Task]
    data_sha256: str
    notes: tuple[str, ...]
    sources: tuple[str, ...]


Made = dict[str, MadeTasks | type[Scenario]]
"""What plans of one command share, by what it was made from: the scenario's class, and the tasks of each seed."""


def make_plan(
    options: dict[str, Any], objects: Mapping[str, type[Any]] | None = None, made: Made | None = None
) -> Plan:
    """Resolve ``options`` (those of RunConfig; "scenario" and "strategy" are needed) and check them together.

    What the user does not give comes from the scenario's ``defaults``, then from RunConfig. A plug-in given by path
    goes by its stem, or its file name where a built-in has that name.

    Args:
        options: settings by name.
        objects: classes that are no files, under "scenario:NAME" and "strategy:NAME"; they hide plug-ins of that name.
        made: what earlier plans made, which later ones add to; every plan makes its own without.

    Raises:
        InputError: anything unknown, of a wrong type or that does not fit together; one line.
    """
    objects, made = objects or {}, {} if made is None else made
    options = {key: value for key, value in options.items() if key not in WORKED_OUT}
    files: dict[str, str] = dict(options.get("plugin_files", {}))
    hashes: dict[str, str] = {}

    refuse_several_processes()
    for needed in ("scenario", "strategy"):
        if not isinstance(options.get(needed), str) or not options[needed]:
            fault = f"{needed} = {options[needed]!r} is not a name" if options.get(needed) else f"--{needed} is missing"
            names = {"scenario": "scenarios", "strategy": "strategies"}[needed]
            raise InputError(f"{fault}; `clbench list {names}` shows what there is")
    scenario_name, scenario_file = locate("scenario", options["scenario"], files, hashes, objects)
    scenario_class = objects.get(f"scenario:{scenario_name}") or _load_scenario(
        scenario_file, options.get("scenario_args"), made
    )
    resolved = {**scenario_class.defaults, **{key: value for key, value in options.items() if value is not None}}
    resolved.setdefault("setting", scenario_class.settings[0])
    if options.get("epochs") is not None:
        resolved.setdefault("min_steps", 0)  # who gives the epochs means them

    expression, members = build_strategies(options["strategy"], files, hashes, objects)
    resolved |= {
        "scenario": scenario_name,
        "strategy": expression,
        "plugin_files": files,
        "plugin_hashes": dict(sorted(hashes.items())),
    }
    config = make_config(resolved)
    expand(config.output_dir, "output_dir")  # refused before anything is made
    if "setting" in config.scenario_args:
        raise InputError("--scenario-arg setting=... is not allowed; give the setting with --setting")
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device, config.model)
    model = canonical_model(config.model)
    config = config.model_copy(update={"device": str(device), "precision": precision, "model": model})
    _check_setting(config.setting, scenario_class)
    check_kind(config.model, scenario_class.kind)
    check_stack(members, config.setting, kind_name(scenario_class.kind), config.accumulation, config.task_steps)
    check_optimizer_state(members, config.optimizer_state)
    check_processes(members, config)
    _check_measures(config, find_kind(scenario_class.kind))
    tasks, data, notes, sources = _make_tasks(scenario_name, scenario_class, config, config.seed, made)
    tasks = _first(tasks, config.first_tasks)
    kind = find_kind(tasks[0].kind)
    if config.save_model and not kind.deployable:
        known = ", ".join(name for name in available_kinds() if find_kind(name).deployable)
        raise InputError(f"--save-model does not know models for {kind} tasks; allowed: {known} tasks; leave it away")
    if label_space(tasks, config.setting).shares_columns:
        check_own_labels(members)
    contents = {
        "data_sha256": data,
        "source_sha256": _make_tasks(scenario_name, scenario_class, config, 0, made).data_sha256,
        "model_sha256": model_identity(config.model),
    }
    stack = Stack(sorted(members, key=lambda member: member[0]))
    return Plan(config.model_copy(update=contents), tasks, stack, notes, sources)


def _load_scenario(file: str, arguments: object, made: Made) -> type[Scenario]:
    """The scenario's class; a person's data are read with ``arguments``, and once for all plans."""
    given = arguments if isinstance(arguments, dict) else {}  # what else it is, make_config refuses
    key = f"{file} {given!r}"
    found = made.get(key)
    if not isinstance(found, type):
        found = made[key] = load("scenario", file, given)
    return found


def _make_tasks(name: str, scenario: type[Scenario], config: RunConfig, seed: int, made: Made) -> MadeTasks:
    """The scenario's tasks for ``seed``, checked, and the hash of their data.

    Whatever the seed draws, what seed 0 draws tells whether the data behind it are the same.
    """
    key = canonical_json([config.plugin_hashes[f"scenario:{name}"], config.scenario_args, config.setting, seed])
    found = made.get(key)
    if not isinstance(found, MadeTasks):
        built = construct(scenario, name, config.scenario_args, seed=seed, setting=config.setting)
        tasks = check_tasks(ask(built, name, "tasks"), config.setting)
        digest = hashlib.sha256(" ".join(map(data_hash, tasks)).encode())
        found = made[key] = MadeTasks(tasks, digest.hexdigest(), ask(built, name, "notes"), tuple(built.sources))
    return found


def _first(tasks: Sequence[Task], count: int | None) -> Sequence[Task]:
    if count is not None and count > len(tasks):
        raise InputError(f"first_tasks = {count} is not allowed; allowed: 1 to {len(tasks)}, as many as there are")
    return tasks[:count]


def _check_setting(setting: str, scenario: type[Scenario]) -> None:
    if setting not in scenario.settings:
        if setting in scenario.refusals:
            allowed = ", ".join(scenario.settings)
            reason = scenario.refusals[setting]
            raise InputError(f"setting {setting!r} cannot be had with this scenario: {reason}; allowed: {allowed}")
        raise unknown("setting", setting, scenario.settings)


def _check_measures(config: RunConfig, kind: Kind) -> None:
    """Refuse ``--ability`` and ``--probe`` for kinds that they have no meaning for."""
    if config.ability and kind.ability not in ABILITIES:
        raise InputError(f"--ability: nothing is known that models of {kind} tasks could do before; leave it away")
    if config.probe and not kind.over_labels:
        raise InputError(f"--probe fits a classifier of labels, and {kind} tasks have none; leave it away")
