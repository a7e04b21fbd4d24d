"""Keeps the model of a run: in which form others can load it is found by saving, loading and comparing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from clbench.engine.checkpoint import save_checkpoint
from clbench.engine.comparing import answers_alike, exact_answers, log_probabilities, why_unusable
from clbench.engine.model_facts import describe, image_shape, keep_tokenizer, names_of, task_folder
from clbench.engine.outcome import measures_of
from clbench.engine.plain_form import save_plain
from clbench.engine.preparation import Prepared
from clbench.engine.reporter import Reporter
from clbench.engine.state import State, learned_state
from clbench.errors import RunError
from clbench.files import replace_folder, safe_name
from clbench.models import (
    BASE,
    STATE,
    Form,
    Unfit,
    is_own,
    ranks,
    save_classifier,
    save_own,
    write_card,
)
from clbench.results import RunFolder, compute_metrics

OTHERWISE = "what transformers loads gives other answers than the strategy"


@dataclass(frozen=True)
class Keeping:
    """What it takes to keep the model of a run as it is now; ``results`` are the run's numbers so far."""

    prepared: Prepared
    state: State
    report: Reporter
    results: dict[str, Any]


def keep_models(prepared: Prepared, state: State, folder: RunFolder, report: Reporter) -> None:
    """Keep the model as it is after the last row of the matrix, where the run's ``save_model`` asks for that.

    Raises:
        RunError: it cannot be written.
    """
    names, row, wanted = [task.name for task in prepared.tasks], state.rows - 1, prepared.config.save_model
    last = row == len(names)
    if not wanted or (wanted == "final" and not last) or not ranks.is_first():
        return
    measured = {name: value for name, value in zip(names, state.accuracy[row], strict=True) if value is not None}
    metrics = compute_metrics(state.accuracy) if last else {}
    keeping = Keeping(prepared, state, report, {**measures_of(prepared), "tasks": measured, "metrics": metrics})
    with prepared.learner.clock.measure("model"):
        if wanted == "each":
            number = f"{row:0{len(str(len(names)))}}"
            keep_model(keeping, folder.models / f"{number}-{safe_name(names[row - 1])}")
        if last:
            keep_model(keeping, folder.model)


def keep_model(keeping: Keeping, folder: Path) -> None:
    """Write the model to ``folder``; what was there stays until the new one is whole on the disk.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    new = folder.with_name(f"{folder.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        with exact_answers(keeping.prepared):
            why = _write(keeping, new)
        replace_folder(new, folder)
    except (Unfit, torch.OutOfMemoryError) as error:  # the run's numbers are worth more than its model
        shutil.rmtree(new, ignore_errors=True)
        text = f"no model is kept: {' '.join(str(error).split())}"
        keeping.report.warn(text)
        keeping.state.warnings.append({"event": "no_model", "after_task": keeping.state.rows - 1, "text": text})
        return
    except (OSError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        raise RunError(f"model {folder} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    keeping.report.say(f"model: {folder}{f' ({why})' if why else ''}")


def _write(keeping: Keeping, folder: Path) -> str:
    """Write the best form there is into ``folder``; why it is not a plain one, empty where it is."""
    prepared, strategy = keeping.prepared, keeping.prepared.strategy
    learned = range(prepared.learner.tasks_seen)
    given = prepared.config.setting == "task"
    # The answers first: asking for another task's may move what the model answers.
    expected = {task: log_probabilities(prepared, task, task if given else None) for task in learned}
    first = _write_plain(keeping, folder, 0 if given else None, None)
    if first is None and answers_alike(prepared, folder, expected):
        return ""
    why = first or OTHERWISE
    if strategy.answers and (given or strategy.routing):
        why = _write_tasks(keeping, folder, learned)
        if given and not why:
            return ""
        why = why or f"a router chooses among the tasks' modules, by {strategy.routing}"
    _write_strategy(keeping, folder, why)
    if reason := why_unusable(prepared, folder, expected):
        raise Unfit(f"{why}, and {reason}")
    return why


def _write_tasks(keeping: Keeping, folder: Path, learned: Sequence[int]) -> str:
    """Write a plain form for each task into a folder of its own; why that is not possible, empty where it is."""
    prepared = keeping.prepared
    _empty(folder)
    for task in learned:
        expected = {task: log_probabilities(prepared, task, task)}
        own = folder / task_folder(prepared, task)
        own.mkdir(parents=True)
        reason = _write_plain(keeping, own, task, task)
        if reason is None and not answers_alike(prepared, own, expected):
            reason = OTHERWISE
        if reason is not None:
            _empty(folder)
            return reason
    _sign(keeping, folder, "tasks", below=True)
    return ""


def _write_plain(keeping: Keeping, folder: Path, asked: int | None, only: int | None) -> str | None:
    """Write what the strategy says gives its answers; why it cannot be written, None where it was.

    Args:
        keeping: the run.
        folder: an empty one.
        asked: the task that the strategy is asked for, None for all.
        only: the task that the folder will answer alone, None for all.
    """
    prepared = keeping.prepared
    log_probabilities(prepared, asked or 0, asked)  # so that the strategy has just answered for it
    name = prepared.config.strategy
    found = prepared.strategy.deployable(prepared.learner, asked)
    if found is None:
        return f"no plain model gives the answers of {name}"
    try:
        form = save_plain(prepared, found, folder)
    except Unfit as unfit:
        _empty(folder)
        return str(unfit)
    keep_tokenizer(prepared, prepared.loaded.tokenizer, folder)
    _sign(keeping, folder, form, only=only)
    return None


def _write_strategy(keeping: Keeping, folder: Path, why: str) -> None:
    """Write the model that the run began with and the state of everything that has changed since.

    What lies in ``folder`` of a task each stays.
    """
    prepared = keeping.prepared
    for path in folder.iterdir():
        if path.name != "tasks":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = prepared.load_again()
    names = names_of(prepared)
    if is_own(again.model):
        save_own(again.model, folder / BASE, prepared.config.model, image_shape(prepared), len(names))
    else:
        save_classifier(again.model, folder / BASE, names, {})
    keep_tokenizer(prepared, again.tokenizer, folder)
    model: Any = prepared.learner.model
    # Which of PEFT's modules answer, where the strategy says it before a task alone.
    modules = list(model.active_adapters) if hasattr(model, "peft_config") else []
    content = {**learned_state(prepared, keeping.state), "modules": modules}
    save_checkpoint(folder / STATE, content, prepared.config.sha256)
    _sign(keeping, folder, "strategy", why=why, below=(folder / "tasks").exists())


def _sign(keeping: Keeping, folder: Path, form: Form, **more: Any) -> None:
    """Write what the folder is, for `clbench predict` and for people."""
    deployment = describe(keeping.prepared, keeping.results, form, **more)
    deployment.write(folder)
    write_card(folder, deployment)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
