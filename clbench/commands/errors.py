"""``clbench errors``: what a finished run got wrong, with the texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clbench import plugins, report
from clbench.commands.terminal import terminal_width
from clbench.errors import ClbenchError, InputError, unknown
from clbench.kinds import find_kind, kind_name, texts_in
from clbench.results import Run, RunFolder, find_run
from clbench.scenario import Task
from clbench.sources import SOURCES, source_rows
from clbench.tasks import check_tasks, data_hash, limit_task

BETWEEN = " || "  # a text and its pair
TEXTS: dict[str, Callable[[Any], list[str]]] = {
    "text": lambda split: [text if isinstance(text, str) else BETWEEN.join(text) for text in texts_in(split)],
    "generation": lambda split: list(split["prompt"][:]),
    "token": lambda split: [" ".join("_".join(token.split()) for token in tokens) for tokens in split["tokens"][:]],
}
"""What is shown of a split's examples, by kind; a token's blanks as underscores, so that its place can be counted."""


def page(path: Path, tasks: Sequence[str], after: int | None, format: str, *, wide: bool) -> str:
    """What the run in ``path`` got wrong in ``tasks`` (all if none) after ``after`` tasks (None: at the end).

    Raises:
        InputError: it is no finished run, or there is no such task, time or format.
    """
    if format not in ("table", "json"):
        raise unknown("format", format, ("table", "json"))
    run = find_run([path])
    errors = report.find_errors(run, tasks, after)
    texts, notes = read_texts(run, [task.task for task in errors.tasks])
    return report.render_errors(report.with_texts(errors, texts, notes), format, None if wide else terminal_width())


def read_texts(run: Run, names: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The texts that ``run`` was evaluated on in the tasks ``names``, and notes on those that are not to be had.

    A run's folder holds none: its scenario is made again, and a task whose data are others than the run's is left out.
    """
    try:
        hashes = RunFolder(run.folder).read_environment().get("data_sha256")
        if not isinstance(hashes, dict):
            raise InputError("environment.json does not say which data the run had")
        tasks = [task for task in _make_again(run.config) if task.name in names]
    except ClbenchError as error:
        return {}, [f"no texts: {error}"]
    except Exception as error:  # whatever somebody's scenario raises: the numbers stand without it
        reason = f"{type(error).__name__}: {error}"
        return {}, [f"no texts: the scenario {run.config['scenario']!r} cannot be made again: {reason}"]
    if tasks and kind_name(tasks[0].kind) not in TEXTS:
        noun = find_kind(tasks[0].kind).noun
        return {}, [f"no texts: the examples are {noun}s; their numbers are places in the split"]
    same = [task for task in tasks if data_hash(task) == hashes.get(task.name)]
    split = run.config.get("eval_split", "test")
    texts = {task.name: TEXTS[kind_name(task.kind)](task.splits[split]) for task in same}
    changed = [name for name in names if name not in texts]
    note = f"no texts of {', '.join(changed)}: the data changed since the run"
    return texts, [note] if changed else []


def _make_again(config: Mapping[str, Any]) -> list[Task]:
    """The tasks of a run's config.json as it used them.

    Raises:
        InputError: the scenario is not there, or its data are not in the cache: reading results fetches nothing.
    """
    name, setting, seed = config["scenario"], config["setting"], config["seed"]
    file = config.get("plugin_files", {}).get(f"scenario:{name}", name)
    scenario = plugins.build("scenario", file, config["scenario_args"], label=name, seed=seed, setting=setting)
    cached = {row["name"] for row in source_rows() if row["cached"]}
    if missing := [source for source in scenario.sources if source in SOURCES and source not in cached]:
        raise InputError(f"the cache lacks {', '.join(missing)}; fetch with: clbench data pull {' '.join(missing)}")
    return [limit_task(task, config.get("limit"), seed) for task in check_tasks(scenario.tasks(), setting)]
