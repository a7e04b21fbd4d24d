"""``clbench describe``: the page of a strategy, a scenario or a model. Imports no torch."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import clbench
from clbench import plugins
from clbench.commands.describe_preset import preset_page
from clbench.config import RunConfig
from clbench.errors import InputError
from clbench.plugins import Component, Description
from clbench.report import figures_table
from clbench.results import Run, find_runs
from clbench.sources import ARGUMENTS, BUILT_IN, OTHER_MODELS, SOURCES
from clbench.text import clean, size_text, text_table

PUBLISHED = Path(clbench.__file__).parents[1] / "results" / "published"
"""The published runs of a checkout; a wheel brings none."""
GIVEN = ("seed", "setting")  # arguments of scenarios that are options of their own


def page(name: str, arguments: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None) -> str:
    """What there is to tell of a strategy, scenario or model given by name or path, or of a person's data.

    Args:
        name: what is asked for; of a strategy expression, such as "replay(memory_size=0.1)+ewc", each strategy's page.
        arguments: of the scenario, where it is a person's data.
        options: settings of a run on them: ``setting``, ``model``, ``max_length``.

    Raises:
        InputError: there is no such thing, or it takes no arguments and options here.
    """
    if {"+", "("} & {*name} and not Path(name).exists() and not plugins.is_own_data("scenario", name):
        return "\n\n\n".join(page(member.name) for member in plugins.parse_expression(name))
    kind = "model" if name in BUILT_IN else plugins.kind_of(name, others=BUILT_IN)
    own_data = kind == "scenario" and plugins.is_own_data(kind, name)
    if (arguments or options) and not own_data:
        given = ", ".join([*(arguments or {}), *(options or {})])
        raise InputError(f"{given}: only for data (a file, a folder, hub:OWNER/NAME), which {name!r} is not")
    if own_data:
        from clbench.commands.describe_data import data_page  # not for plug-ins: it takes torch

        lines = data_page(name, arguments or {}, options or {})
    elif kind == "model":
        lines = _model_page(name)
    elif kind == "scenario" and plugins.is_preset(kind, name):
        lines = preset_page(plugins.find(kind, name))
    else:
        description = plugins.describe(kind, name)
        lines = _plugin_page(kind, description)
        if plugins.available(kind).get(description.name) == description.path and kind == "strategy":
            lines += _published(description.name)
    return "\n".join(clean(line) for text in lines for line in text.split("\n"))


def _plugin_page(kind: str, description: Description) -> list[str]:
    doc = description.doc.strip()
    about, explained = _split_arguments(description.class_doc)
    lines = [f"{description.name} ({kind})", "", doc]
    if about and about != doc:
        lines += ["", about]
    lines += ["", *(_scenario_facts(description) if kind == "scenario" else _strategy_facts(description))]
    return lines + _arguments(description, explained)


def _split_arguments(doc: str) -> tuple[str, dict[str, str]]:
    """A class's docstring without its section ``Args``, and what that says of each argument."""
    before, heading, section = doc.strip().partition("\nArgs:\n")
    if not heading:
        return doc.strip(), {}
    section, _, after = section.partition("\n\n")
    told: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", textwrap.dedent(section)):
        names, _, text = entry.partition(":")
        told |= {name.strip(): " ".join(text.split()) for name in names.split(",")}
    return "\n\n".join(part.strip() for part in (before, after) if part.strip()), told


def _arguments(description: Description, explained: dict[str, str]) -> list[str]:
    """A table of the arguments; under each what its docstring says of it."""
    parameters = [p for p in description.parameters if p.name not in GIVEN]
    if not parameters:
        return []
    rows = [[p.name, p.annotation, p.default] for p in parameters]
    titles = ["argument", "type", "default"]
    if spaces := description.search_spaces:
        rows = [[*row, spaces.get(row[0], "")] for row in rows]
        titles.append("tune tries")
    head, rule, *body = text_table(titles, rows).split("\n")
    lines = ["", head, rule]
    for parameter, line in zip(parameters, body, strict=True):
        lines += [line, *_wrapped(explained.get(parameter.name, ""))]
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 110, initial_indent="    ", subsequent_indent="    ", break_long_words=False)


def _strategy_facts(description: Description) -> list[str]:
    told = description.attributes
    facts = [f"settings: {_listed(told.get('settings'), 'task, domain, class')}"]
    facts.append(f"kinds of task: {_listed(told.get('kinds'), 'all')}")
    if told.get("alone"):
        facts.append(f"stacks with no other remedy: {told['alone']}")
    else:
        facts.append("stacks with other strategies, but those that stack with none")
    if told.get("accumulates") is False:
        facts.append("cannot learn a batch in parts (accumulation)")
    if told.get("resumable") is False:
        facts.append("its state cannot be saved: an interrupted run starts again")
    return facts


def _scenario_facts(description: Description) -> list[str]:
    told = description.attributes
    facts = [f"settings, the default first: {_listed(told.get('settings'), 'task')}"]
    facts += [f"not {setting}: {reason}" for setting, reason in _pairs(told.get("refusals"))]
    facts.append(f"kind of task: {told.get('kind', 'text')}")
    defaults = _pairs(told.get("defaults"))
    if defaults:
        facts.append(f"training defaults: {', '.join(f'{key}={value}' for key, value in defaults)}")
    facts.append(_training_fact(dict(defaults)))
    fetched = [name for name in told.get("sources") or () if name in SOURCES]
    if fetched:
        facts.append(f"fetched once: {', '.join(f'{name} ({size_text(SOURCES[name].size)})' for name in fetched)}")
    return facts


def _training_fact(defaults: Mapping[str, object]) -> str:
    """What trains, unless options of `run` say otherwise: the scenario's settings before the usual ones."""
    usual = {name: field.default for name, field in RunConfig.model_fields.items()}
    told = {**usual, **defaults}
    state = {"fresh": "its state made anew for each task", "carried": "its state carried from task to task"}
    return (
        f"trains with {told['optimizer']}, {state[str(told['optimizer_state'])]}, {told['schedule']} schedule after a "
        f"warm-up of {told['warmup']:.0%} of a task's steps"
    )


def _listed(value: object, otherwise: str) -> str:
    """The names in an attribute; ``otherwise`` where it has none, or more than can be read without running it."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) and value else otherwise


def _pairs(value: object) -> list[tuple[str, object]]:
    return list(value.items()) if isinstance(value, dict) else []


def _model_page(name: str) -> list[str]:
    lines = [f"{name} (model)", "", f"{BUILT_IN[name]}."]
    if name in SOURCES:
        source = SOURCES[name]
        lines += ["", f"{source.about}, fetched once from {source.origin} ({size_text(source.size)})", source.rights]
    if arguments := ARGUMENTS[name]:
        told = [f"{argument} [{default}]" for argument, (default, _, _) in arguments.items()]
        values = ",".join(str(default) for default, _, _ in arguments.values())
        lines += ["", f"arguments, whole numbers: {', '.join(told)}, as in --model '{name}({values})'"]
    return [*lines, "", f"use it with: --model {name}; other models: {OTHER_MODELS}"]


def _published(name: str) -> list[str]:
    """The figures and costs of the strategy, alone and in stacks, in the runs that the repository holds."""
    folders = [folder for folder in sorted(PUBLISHED.glob("*/*")) if folder.is_dir()]
    told, shown = [], set()
    for run in find_runs([folder for folder in folders if name in folder.name or folder.name == "naive"])[0]:
        if name in _components(run):
            shown.add(run.result["strategy"])
        if name in _components(run) or run.result["strategy"] == "naive":
            told.append(run)
    if not shown:
        return []
    title = "published figures (results/README.md says what they teach):"
    return ["", title, "", figures_table(told, shown)]


def _components(run: Run) -> set[str]:
    components: tuple[Component, ...] = plugins.parse_expression(run.result["strategy"])
    return {component.name for component in components}
