"""``clbench describe DATA``: what a person's data are, what is wrong with them, and what a run would do with them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from clbench import plugins
from clbench.config import RunConfig, make_config
from clbench.errors import InputError
from clbench.kinds import ask_tokenizer, count_cut
from clbench.models import tokenizer_at_hand
from clbench.scenario import Task
from clbench.tasks import OwnData, Row, check_tasks, short_name
from clbench.text import DASH, text_table

LABELS_TOLD = 12
TASKS_TOLD = 20


def data_page(name: str, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """The page of the data ``name``, line by line.

    Args:
        name: a file, a folder or a hub id.
        arguments: of the scenario.
        options: settings of a run: ``setting``, ``model``, ``max_length``, where they are given.

    Raises:
        InputError: the data cannot be read as tasks at all.
    """
    scenario_class: type[OwnData] = plugins.load("scenario", name, arguments)
    setting = options.get("setting") or scenario_class.settings[0]
    scenario = scenario_class(setting=setting, **arguments)
    config = make_config({"scenario": name, "strategy": "naive", **options, "setting": setting})
    rows, (tasks, refusal) = scenario.rows(), _made(scenario, setting)
    lines = [f"{short_name(name)} (your data)", "", *scenario.examined.facts, ""]
    lines += [*_task_table(rows, tasks), "", *_label_lines(rows), "", *_length_lines(rows, tasks, config), ""]
    problems = scenario.problems
    lines += ["problems:" if problems else "problems: none found", *(f"- {problem}" for problem in problems), ""]
    lines += [*_setting_lines(scenario_class, setting), "", *_run_lines(tasks, refusal, config)]
    return lines


def _made(scenario: OwnData, setting: str) -> tuple[Sequence[Task], str]:
    """The tasks as a run would have them; without any, why a run would not start."""
    try:
        return check_tasks(scenario.tasks(), setting), ""
    except InputError as error:
        return [], str(error)


def _task_table(rows: Mapping[str, Sequence[Row]], tasks: Sequence[Task]) -> list[str]:
    sizes = {task.name: [str(len(split)) for split in task.splits.values()] for task in tasks}
    cells = []
    for name, own in list(rows.items())[:TASKS_TOLD]:
        labels = Counter(row.label for row in own)
        most, fewest = max(labels.values()), min(labels.values())
        balance = f"{most / fewest:.1f} : 1"
        cells.append([name, str(len(own)), *sizes.get(name, [DASH] * 3), str(len(labels)), balance])
    table = text_table(["task", "texts", "train", "dev", "test", "labels", "most : fewest"], cells).split("\n")
    return [*table, f"and {len(rows) - TASKS_TOLD} more tasks"] if len(rows) > TASKS_TOLD else table


def _label_lines(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """The labels of each task with their numbers of texts, the most frequent first."""
    lines = []
    for name, own in list(rows.items())[:TASKS_TOLD]:
        labels = Counter(row.label for row in own).most_common()
        more = len(labels) - LABELS_TOLD
        told = ", ".join(f"{label} {count}" for label, count in labels[:LABELS_TOLD])
        lines.append(f"{name}: {told}{f' and {more} more' if more > 0 else ''}")
    return ["labels and their texts:", *lines]


def _length_lines(rows: Mapping[str, Sequence[Row]], tasks: Sequence[Task], config: RunConfig) -> list[str]:
    texts = [row.content for own in rows.values() for row in own]
    tokenizer = tokenizer_at_hand(config, tasks) if tasks else None
    if tokenizer is None:
        lengths = [len(f"{row.text} {row.text_pair}".split()) for own in rows.values() for row in own]
        why = "its tokens are counted once it is here: clbench data pull" if tasks else "a run would not start"
        return [f"lengths in words: {_quantiles(lengths)} ({config.model} cuts at {config.max_length} tokens; {why})"]
    ids = ask_tokenizer(tokenizer, texts, truncation=False, verbose=False)["input_ids"]
    lengths = [len(own) for own in ids]
    return [f"lengths in tokens of {config.model}: {_quantiles(lengths)}", count_cut(lengths, config.max_length)]


def _quantiles(lengths: Sequence[int]) -> str:
    in_order = sorted(lengths)
    half, most = (in_order[max(0, math.ceil(share * len(in_order)) - 1)] for share in (0.5, 0.95))
    return f"half up to {half}, 95 % up to {most}, the longest {in_order[-1]}"


def _setting_lines(scenario: type[OwnData], setting: str) -> list[str]:
    proposed = scenario.settings[0]
    chosen = "as the data propose" if setting == proposed else f"as asked for; the data propose {proposed}"
    lines = [f"setting: {setting}, {chosen}: {scenario.examined.reason}"]
    also = [other for other in scenario.settings if other != setting]
    lines += [f"also possible: {', '.join(also)} (--setting)"] if also else []
    return lines + [f"not {name}: {reason}" for name, reason in scenario.refusals.items()]


def _run_lines(tasks: Sequence[Task], refusal: str, config: RunConfig) -> list[str]:
    if not tasks:
        return [f"a run would not start: {refusal}"]
    steps = [f"{task.name} ({config.steps(len(task.train))})" for task in tasks[:TASKS_TOLD]]
    more = f" and {len(tasks) - TASKS_TOLD} more" if len(tasks) > TASKS_TOLD else ""
    line = f"a run trains {config.model} on one task after another (steps): {', '.join(steps)}{more}"
    return [line, *(f"- task {task.name!r}: {note}" for task in tasks for note in task.notes)]
