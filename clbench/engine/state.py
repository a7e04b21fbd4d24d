"""How far a run is and what it has measured, and how both go to disk and come back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clbench.config import RunConfig
from clbench.engine.checkpoint import load_checkpoint, remove_checkpoint
from clbench.engine.checkpoint_writer import CheckpointWriter
from clbench.engine.learning_warnings import row_warnings
from clbench.engine.preparation import Prepared
from clbench.engine.reporter import Reporter
from clbench.errors import InputError, RunError
from clbench.models import ranks
from clbench.results import RunFolder, costs_depend_on
from clbench.toolkit import Evaluation

NOT_CHOSEN = "the kernels that libraries choose by themselves"


@dataclass
class State:
    """All of it goes into the checkpoint.

    Attributes:
        micro_batch_size: the smallest that memory allowed so far.
        rows: rows of the matrix that are done; row 0 is before training.
        accuracy: the matrix, whatever its measure.
        beside: the matrix of the kind's second measure.
        ability: a value a row of what the model could do before, where that is measured.
        probe: the linear probe's matrix, where it is measured.
        predictions: the columns of predictions.parquet; tasks as numbers, labels as columns of the output layer or as
            strings.
        learned: names of the parameters that learned in any task.
        optimizer: what the optimizer kept of each parameter at the end of the tasks before, by name, if it is carried.
        training: where inside a task the run is, None between tasks.
        steps: optimizer steps on the tasks before.
        curve: the columns of curve.parquet, empty without ``evaluate_every``.
        skipped_steps: of each task that had any, how many steps fp16's gradient scaler skipped.
        parts: where each part of a run that was interrupted began, and what it ran on.
    """

    rows: int = 0
    accuracy: list[list[float | None]] = field(default_factory=list)
    beside: list[list[float | None]] = field(default_factory=list)
    ability: list[float | None] = field(default_factory=list)
    probe: list[list[float | None]] = field(default_factory=list)
    predictions: dict[str, Tensor | list[str]] = field(default_factory=dict)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    examples_seen: int = 0
    micro_batch_size: int | None = None
    trainable_parameters: int = 0
    learned: list[str] = field(default_factory=list)
    optimizer: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] | None = None
    steps: int = 0
    curve: dict[str, list[Any]] = field(default_factory=dict)
    skipped_steps: dict[str, int] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)


def record_row(prepared: Prepared, state: State, row: int, evaluations: Sequence[Evaluation | None]) -> None:
    """Add a row to the matrices, its predictions, and a warning for each task that was forgotten or not learned."""
    if any(not math.isfinite(c) for evaluation in evaluations if evaluation for c in evaluation.confidences):
        place = f"after {prepared.tasks[row - 1].name}" if row else "before training"
        raise RunError(
            f"{place} the model's answers are no numbers; tasks finished before are kept; "
            "try a smaller --lr or --head-lr"
        )
    state.rows = row + 1
    state.accuracy.append([e.score if e else None for e in evaluations])
    state.beside.append([e.beside if e else None for e in evaluations])
    _record_predictions(state, row, evaluations)
    learned = [state.accuracy[position + 1][position] for position in range(row - 1)]
    names = [task.name for task in prepared.tasks]
    advice = "try more --epochs or another --lr or --head-lr"
    state.warnings += row_warnings(names, learned, evaluations, row, advice)


def _record_predictions(state: State, row: int, evaluations: Sequence[Evaluation | None]) -> None:
    """Append a row's predictions to the columns, all tasks at once: each append copies what is there."""
    columns: dict[str, list[Any]] = {name: [value] for name, value in state.predictions.items()}
    for position, evaluation in enumerate(evaluations):
        if evaluation is not None:
            count = len(evaluation.labels)
            values = {
                "after_task": torch.full((count,), row),
                "task": torch.full((count,), position),
                "index": torch.arange(count),
                "label": _column(evaluation.labels),
                "prediction": _column(evaluation.predictions),
                "confidence": torch.tensor(evaluation.confidences),
            }
            for name, value in values.items():
                columns.setdefault(name, []).append(value)
    state.predictions = {name: _joined(values) for name, values in columns.items()}


def _column(values: list[Any]) -> Tensor | list[str]:
    return values if values and isinstance(values[0], str) else torch.tensor(values)


def _joined(values: Sequence[Any]) -> Tensor | list[str]:
    if isinstance(values[0], Tensor):
        return torch.cat(list(values))
    return [text for texts in values for text in texts]


def prediction_columns(prepared: Prepared, state: State) -> dict[str, list[Any]]:
    """All predictions as predictions.parquet names them."""
    columns: dict[str, list[Any]] = {
        name: values.tolist() if isinstance(values, Tensor) else values for name, values in state.predictions.items()
    }
    labels = prepared.learner.labels.names
    columns["task"] = [prepared.tasks[position].name for position in columns["task"]]
    for column in ("label", "prediction"):
        columns[column] = [labels[value] if isinstance(value, int) else str(value) for value in columns[column]]
    return columns


def learned_state(prepared: Prepared, state: State) -> dict[str, Any]:
    """All that the run has made of the model and the strategy that it began with."""
    return {
        "tasks_seen": prepared.learner.tasks_seen,
        "skipped_steps": prepared.learner.skipped_steps,
        "model": learned_weights(prepared, state),
        "strategy": prepared.strategy.state_dict(),
    }


def learned_weights(prepared: Prepared, state: State) -> dict[str, Tensor]:
    """The weights that learned, and the buffers; frozen ones come back from the pretrained model."""
    model = prepared.learner.model
    frozen = {name for name, _ in model.named_parameters()} - set(state.learned)
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def save(prepared: Prepared, state: State, writer: CheckpointWriter) -> None:
    """Begin to write a checkpoint of everything that the rest of the run depends on."""
    state.seconds = prepared.learner.clock.read()
    # Not asdict: it would copy every tensor of a training in progress.
    progress = {key: getattr(state, key) for key in State.__dataclass_fields__}
    content = {"state": progress, **learned_state(prepared, state)}
    with prepared.learner.clock.measure("checkpoint"):
        writer.save(content)


def restore(prepared: Prepared, folder: RunFolder, report: Reporter) -> State:
    """The state to go on from: a checkpoint's, or a fresh one; --overwrite starts again where it is of no use.

    Raises:
        InputError: the checkpoint is damaged or another's.
    """
    content = ranks.of_first(partial(_load, prepared.config, folder, report))
    if content is None:
        return State()
    state, learner, strategy = State(**content["state"]), prepared.learner, prepared.strategy
    learner.tasks_seen, learner.skipped_steps = content["tasks_seen"], content["skipped_steps"]
    strategy.load_state_dict(content["strategy"])
    if state.training is not None:
        # before_task sets the task up (its modules, what is frozen); the states then replace what it reset.
        strategy.before_task(learner, prepared.tasks[state.rows - 1])
        strategy.load_state_dict(content["strategy"])
    learner.model.load_state_dict(content["model"], strict=False)
    learner.clock.resume(state.seconds)
    steps = f" and {state.training['step']} steps" if state.training else ""
    report.say(f"resuming {folder.path} after {state.rows - 1} of {len(prepared.tasks)} tasks{steps}")
    return state


def _load(config: RunConfig, folder: RunFolder, report: Reporter) -> dict[str, Any] | None:
    try:
        return load_checkpoint(folder.checkpoint, config.sha256)
    except InputError as error:
        if not config.overwrite:
            raise
        report.warn(f"{error}; starting again")
        remove_checkpoint(folder.checkpoint)
    return None


def begin_part(state: State, hardware: Mapping[str, Any], report: Reporter) -> None:
    """Note on what the run goes on: sums over threads, and on other devices, differ in their last digits."""
    for key, unit in (("device", ""), ("threads", " threads"), ("kernels", "")):
        now = hardware.get(key, NOT_CHOSEN)
        before = {part.get(key, NOT_CHOSEN) for part in state.parts} - {now}
        if before:
            report.warn(
                f"begun on {', '.join(map(str, sorted(before)))}{unit}, goes on with {now}: results may differ in the "
                "last digits from those of an uninterrupted run"
            )
    step = state.training["step"] if state.training else 0
    state.parts.append({"rows_done": state.rows, "steps_done": step, **costs_depend_on(hardware)})
