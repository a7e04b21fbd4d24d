"""Keeps the model of a run: in which form others can load it is found by saving, loading and comparing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import clbench
from clbench.data import Batch
from clbench.engine.answering import load_strategy
from clbench.engine.checkpoint import save_checkpoint
from clbench.engine.preparation import Prepared
from clbench.engine.reporter import Reporter
from clbench.engine.state import State, learned_state
from clbench.errors import InputError, RunError
from clbench.files import replace_folder, safe_name
from clbench.models import (
    BASE,
    STATE,
    DeployedTask,
    Deployment,
    PlainModel,
    Unfit,
    label_names,
    read_deployment,
    save_adapter,
    save_base,
    save_classifier,
    save_encoder,
    save_tokenizer,
    write_card,
)
from clbench.sources import HUB_IDS
from clbench.strategy import Deployable

OTHERWISE = "what transformers loads gives other answers than the strategy"
# Training texts of each task with which a saved model is compared with the strategy.
PROBES = 4
# In fp32 their probabilities may differ by rounding only, and so may the logarithms, which tell what is almost certain.
ROUNDING, LOG_ROUNDING, LEAST_LOG = 1e-5, 1e-3, -100.0


@dataclass(frozen=True)
class Keeping:
    """What it takes to keep the model of a run as it is now."""

    prepared: Prepared
    state: State
    report: Reporter
    results: dict[str, Any]


def keep_model(keeping: Keeping, folder: Path) -> None:
    """Write the model to ``folder``; what was there stays until the new one is whole on the disk.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    new = folder.with_name(f"{folder.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        with _for_answers(keeping.prepared):
            why = _write(keeping, new)
        replace_folder(new, folder)
    except Unfit as unfit:
        shutil.rmtree(new, ignore_errors=True)
        keeping.report.warn(f"no model is kept: {unfit}")
        return
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise RunError(f"model {folder} cannot be written: {error.strerror or error}") from error
    keeping.report.say(f"model: {folder}{f' ({why})' if why else ''}")


def _write(keeping: Keeping, folder: Path) -> str:
    """Write the best form there is into ``folder``; why it is not a plain one, empty where it is."""
    prepared, strategy = keeping.prepared, keeping.prepared.strategy
    learned = range(prepared.learner.tasks_seen)
    given = prepared.config.setting == "task"
    # The answers first: asking for another task's may move what the model answers.
    expected = {task: _log_probabilities(prepared, task, task if given else None) for task in learned}
    first = _write_plain(keeping, folder, 0 if given else None, None)
    if first is None and _same(prepared, folder, expected):
        return ""
    why = first or OTHERWISE
    if strategy.answers and (given or strategy.routing):
        why = _write_tasks(keeping, folder, learned)
        if given and not why:
            return ""
        why = why or f"a router chooses among the tasks' modules, by {strategy.routing}"
    _write_strategy(keeping, folder, why)
    if reason := _unusable(prepared, folder, expected):
        raise Unfit(f"{why}, and {reason}")
    return why


def _write_tasks(keeping: Keeping, folder: Path, learned: Sequence[int]) -> str:
    """Write a plain form for each task into a folder of its own; why that is not possible, empty where it is."""
    prepared = keeping.prepared
    _empty(folder)
    for task in learned:
        expected = {task: _log_probabilities(prepared, task, task)}
        own = folder / _task_folder(prepared, task)
        own.mkdir(parents=True)
        reason = _write_plain(keeping, own, task, task)
        if reason is None and not _same(prepared, own, expected):
            reason = OTHERWISE
        if reason is not None:
            _empty(folder)
            return reason
    deployment = describe(keeping, "tasks", None)
    deployment.write(folder)
    write_card(folder, deployment)
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
    _log_probabilities(prepared, asked or 0, asked)  # so that the strategy has just answered for it
    name = prepared.config.strategy
    found = prepared.strategy.deployable(prepared.learner, asked)
    if found is None:
        return f"no plain model gives the answers of {name}"
    try:
        form = _save(prepared, found, folder)
    except Unfit as unfit:
        _empty(folder)
        return str(unfit)
    save_tokenizer(prepared.loaded.tokenizer, folder, _longest(prepared), prepared.learner.padding_side)
    deployment = describe(keeping, form, only)
    deployment.write(folder)
    write_card(folder, deployment)
    return None


def _save(prepared: Prepared, found: Deployable, folder: Path) -> Any:
    """Write ``found`` in its form, whose name is returned."""
    model, head = found.model, prepared.loaded.head
    names = _names(prepared)
    if hasattr(model, "peft_config"):
        if found.linear is not None:
            raise Unfit("its linear layer stands on PEFT's modules")
        base = _base(prepared)
        if base == BASE:
            again = prepared.load_again()
            save_base(again.model, folder / BASE, again.head)
        save_adapter(model, folder, names, HUB_IDS.get(base, base), head)
        return "adapter"
    if found.linear is None:
        save_classifier(model, folder, names, {})
        return "model"
    if found.features == "mean":
        save_encoder(model, folder, found.linear)
        return "linear"
    weight, bias = (part.float().cpu() for part in found.linear)
    save_classifier(model, folder, names, {f"{head.output_layer}.weight": weight, f"{head.output_layer}.bias": bias})
    return "model"


def _write_strategy(keeping: Keeping, folder: Path, why: str) -> None:
    """Write the model that the run began with and the state of everything that has changed since.

    What lies in ``folder`` of a task each stays.
    """
    prepared = keeping.prepared
    for path in folder.iterdir():
        if path.name != "tasks":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = prepared.load_again()
    save_classifier(again.model, folder / BASE, _names(prepared), {})
    save_tokenizer(again.tokenizer, folder, _longest(prepared), prepared.learner.padding_side)
    save_checkpoint(folder / STATE, learned_state(prepared, keeping.state), prepared.config.sha256)
    deployment = describe(keeping, "strategy", None, why, with_tasks=(folder / "tasks").exists())
    deployment.write(folder)
    write_card(folder, deployment)


def _unusable(prepared: Prepared, folder: Path, expected: dict[int, Tensor]) -> str:
    """Why the strategy in ``folder`` does not answer as the one of the run; empty where it does."""
    if not prepared.strategy.resumable:
        return f"the state of {prepared.config.strategy} cannot be saved"
    described = read_deployment(folder).model_copy(update={"precision": "fp32"})
    try:
        strategy, learner, _ = load_strategy(folder, described, prepared.learner.device)
    except InputError as error:
        return str(error)
    again = replace(prepared, strategy=strategy, learner=learner)
    given = prepared.config.setting == "task"
    found = {task: _log_probabilities(again, task, task if given else None) for task in expected}
    same = all(_equal(found[task], expected[task]) for task in expected)
    return "" if same else f"{prepared.config.strategy} answers otherwise once its state is loaded"


def describe(keeping: Keeping, form: Any, only: int | None, why: str = "", *, with_tasks: bool = False) -> Deployment:
    """What clbench.json says of the model as it is now."""
    prepared, config = keeping.prepared, keeping.prepared.config
    labels, seen = prepared.learner.labels, prepared.learner.tasks_seen
    tasks = prepared.tasks[:seen]
    below = form == "tasks" or with_tasks
    run = {key: getattr(config, key) for key in ("scenario", "strategy", "model", "setting", "seed")}
    run["config_sha256"] = config.sha256
    if form == "strategy":
        run |= {"plugin_files": config.plugin_files, "plugin_hashes": config.plugin_hashes}
        run |= {"positions": prepared.loaded.positions, "later_columns": labels.columns[seen:]}
    base = _base(prepared) if form == "adapter" else ""
    return Deployment(
        clbench=clbench.__version__,
        form=form,
        why=why,
        run=run,
        results=keeping.results,
        labels=list(labels.names),
        tasks=[
            DeployedTask(
                name=task.name,
                columns=list(task.columns),
                folder=_task_folder(prepared, task.position) if below else "",
            )
            for task in tasks
        ],
        task=None if only is None else prepared.tasks[only].name,
        setting=config.setting,
        candidates=_candidates(prepared, None),
        routing="" if config.setting == "task" else prepared.strategy.routing,
        max_length=_longest(prepared),
        padding_side=prepared.learner.padding_side,  # type: ignore[arg-type] # "left" or "right"
        precision=config.precision,  # type: ignore[arg-type] # resolved, no longer "auto"
        output_layer=prepared.loaded.head.output_layer or "",
        head=sorted(prepared.loaded.head.parameters) if form == "strategy" else [],
        base=base,
        base_sha256=config.model_sha256 if base not in ("", BASE) else "",
        features="mean" if form == "linear" else "",
    )


def _names(prepared: Prepared) -> list[str]:
    return label_names(prepared.learner.labels.names, [(task.name, task.columns) for task in prepared.tasks])


def _base(prepared: Prepared) -> str:
    """What an adapter is for: a name or a whole path; ``tiny`` is made for each run, and so lies beside its adapter."""
    name = prepared.config.model
    if name == "tiny":
        return BASE
    return str(Path(name).expanduser().absolute()) if Path(name).expanduser().is_dir() else name


def _longest(prepared: Prepared) -> int:
    return prepared.loaded.longest_text(prepared.config.max_length)


def _task_folder(prepared: Prepared, task: int) -> str:
    return f"tasks/{task + 1:0{len(str(len(prepared.tasks)))}}-{safe_name(prepared.tasks[task].name)}"


def _candidates(prepared: Prepared, task: int | None) -> list[int]:
    """The columns among which the answer to a text is looked for."""
    labels, seen = prepared.learner.labels, prepared.learner.tasks_seen
    if labels.setting == "task" and task is None:
        return sorted({column for columns in labels.columns[:seen] for column in columns})
    return list(labels.candidates(task, seen))


def _probes(prepared: Prepared, task: int) -> Batch:
    """Training texts of a task as the strategy sees texts at evaluation."""
    batch = prepared.learner.collate(prepared.tasks[task].train[:PROBES])
    del batch["labels"]
    if prepared.config.setting != "task":
        batch["task_ids"].zero_()
    return batch


@torch.inference_mode()
def _log_probabilities(prepared: Prepared, task: int, given: int | None) -> Tensor:
    """What the strategy answers to a task's probes (examples, candidates), asked with the task's id or without."""
    batch = _probes(prepared, task)
    strategy, learner = prepared.strategy, prepared.learner
    logits = strategy.predict(learner, batch, given) if strategy.answers else None
    columns = _candidates(prepared, task) if given is None else list(learner.labels.columns[given])
    return (learner.logits(batch) if logits is None else logits)[:, columns].log_softmax(-1)


def _same(prepared: Prepared, folder: Path, expected: dict[int, Tensor]) -> bool:
    """Whether the plain model in ``folder`` gives the expected probabilities to the tasks' probes."""
    described = read_deployment(folder).model_copy(update={"precision": "fp32"})
    try:
        plain = PlainModel(folder, described, prepared.learner.device)
    except InputError:
        return False
    for task, wanted in expected.items():
        own = prepared.config.setting == "task" or described.task is not None
        columns = list(prepared.learner.labels.columns[task]) if own else _candidates(prepared, task)
        found = plain.logits(_probes(prepared, task))[:, columns].log_softmax(-1)
        if not _equal(found, wanted):
            return False
    return True


def _equal(found: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors of log-probabilities differ by rounding only; where a number is none they differ."""
    probabilities = (found.exp() - wanted.exp()).abs().max() <= ROUNDING
    logarithms = (found.clamp(min=LEAST_LOG) - wanted.clamp(min=LEAST_LOG)).abs().max() <= LOG_ROUNDING
    return bool(probabilities & logarithms)


@contextmanager
def _for_answers(prepared: Prepared) -> Iterator[None]:
    """Inside, the model is in eval mode and computes in fp32, so that a comparison sees rounding only."""
    learner, precision = prepared.learner, prepared.learner.precision
    learner.model.eval()
    learner.precision = "fp32"
    try:
        with torch.random.fork_rng():  # loading draws weights that are replaced at once
            yield
    finally:
        learner.precision = precision


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
