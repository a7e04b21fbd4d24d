"""The run: task after task, step after step, with the strategy's hooks. Read it from top to bottom."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import clbench
from clbench import environment, interrupts
from clbench.checkpoint import remove_checkpoint, tensor_bytes
from clbench.clock import Clock
from clbench.config import RunConfig
from clbench.data import Example, TaskData
from clbench.evaluator import Evaluation, evaluate, measurable
from clbench.interrupts import Interrupted, Interrupts
from clbench.metrics import compute_metrics, forgetting_matrix
from clbench.models import import_transformers
from clbench.plan import Plan
from clbench.prepare import Prepared, parameter_bytes, prepare
from clbench.progress import Reporter
from clbench.results import RunFolder
from clbench.state import State, record_row, restore, save
from clbench.training import Training

# The loss is read from the device every so many steps: for progress, and to find NaN.
REPORT_EVERY = 10


def run_folder(config: RunConfig) -> RunFolder:
    """Where the run of ``config`` lies."""
    model = Path(config.model).name if os.path.isdir(config.model) else config.model
    output = Path(config.output_dir).expanduser()
    return RunFolder.locate(output, config.scenario, config.strategy, model, config.seed, config.hash8)


def run(plan: Plan, report: Reporter) -> dict[str, Any]:
    """Run ``plan`` to its end and return its result.

    A finished run's result is read and returned; an unfinished one goes on from its last checkpoint.

    Raises:
        InputError: the tasks or the model cannot be used, or the folder holds something else.
        RunError: training failed; the tasks that were finished are kept.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    folder = run_folder(plan.config)
    if (finished := _finished(plan, folder, report)) is not None:
        return finished
    folder.create()
    with folder.locked(), interrupts.watch() as signals:
        # Another process may have finished it since.
        if (finished := _finished(plan, folder, report)) is not None:
            return finished
        if plan.config.overwrite:
            folder.remove_result()
            remove_checkpoint(folder.checkpoint)
        try:
            result = _run(plan, folder, signals, report)
        finally:
            report.close()
        if not plan.config.keep_checkpoints:
            remove_checkpoint(folder.checkpoint)
    return result


def _finished(plan: Plan, folder: RunFolder, report: Reporter) -> dict[str, Any] | None:
    result = None if plan.config.overwrite else folder.read_result()
    if result is not None:
        report.say(f"finished before, read from {folder.path}")
        if folder.checkpoint.exists() and not folder.read_config().get("keep_checkpoints"):
            remove_checkpoint(folder.checkpoint)  # the process ended between the result and this
    return result


def _run(plan: Plan, folder: RunFolder, signals: Interrupts, report: Reporter) -> dict[str, Any]:
    config = plan.config
    device = environment.choose_device(config.device)
    import_transformers()
    clock = Clock()  # the import takes seconds, and only in the first run of a process
    environment.reset_peak_memory(device)
    prepared = prepare(plan, clock)
    folder.write_config({**config.model_dump(), "clbench": clbench.__version__, "hash8": config.hash8})
    state = restore(prepared, folder, report)
    if not state.rows:
        folder.remove_log()
    folder.write_environment(
        environment.describe_environment(prepared.data_sha256, prepared.model_sha256, device, config.precision)
    )

    names = [task.name for task in prepared.tasks]
    for row in range(state.rows, len(names) + 1):
        trained = row == 0 or _train(prepared, state, row - 1, folder, signals, report)
        record_row(prepared, state, row, _evaluate(prepared) if trained else [None for _ in names])
        report.row("before training" if row == 0 else f"after {names[row - 1]}", names, state.accuracy[row])
        for warning in state.warnings:
            if warning["after_task"] == row:
                report.warn(warning["text"])
                folder.append_log({"event": "forgetting", **warning})
        state.seconds = clock.read()
        for event in prepared.learner.take_events():
            folder.append_log({"after_task": row, **event})
        folder.append_log({"event": "row", "after_task": row, "accuracy": state.accuracy[row], **state.seconds})
        if row < len(names) or config.keep_checkpoints:
            _save_and_stop_if_asked(prepared, state, folder, signals)

    predictions_sha256 = folder.write_predictions(state.predictions)
    result = _result(prepared, state, clock, environment.peak_memory(device))
    result["predictions_sha256"] = predictions_sha256
    folder.write_result(result)
    return result


def _train(
    prepared: Prepared, state: State, position: int, folder: RunFolder, signals: Interrupts, report: Reporter
) -> bool:
    """Train at ``position``; False when the strategy learns nothing there."""
    config, strategy, learner = prepared.config, prepared.strategy, prepared.learner
    sources = list(strategy.training_tasks(position, len(prepared.tasks)))
    if not sources:
        return False
    learner.tasks_seen = max(learner.tasks_seen, *(source + 1 for source in sources))
    task = prepared.tasks[position]
    if state.training is None:
        strategy.before_task(learner, task)
    learning = dict(learner.named_parameters())
    state.learned = list(dict.fromkeys([*state.learned, *learning]))
    state.trainable_parameters = max(state.trainable_parameters, sum(p.numel() for p in learning.values()))
    examples = [example for source in sources for example in prepared.tasks[source].train]
    if not learning:
        # Nothing to step: the strategy takes what it needs from the examples in after_task.
        seen: int | None = len(examples)
    else:
        with learner.clock.measure("train"):
            seen = strategy.train(learner, task, config)
    if seen is None:
        seen = _take_steps(prepared, state, task, examples, folder, signals, report)
    state.examples_seen += seen
    strategy.after_task(learner, task)
    return True


def _take_steps(
    prepared: Prepared,
    state: State,
    task: TaskData,
    examples: list[Example],
    folder: RunFolder,
    signals: Interrupts,
    report: Reporter,
) -> int:
    """The steps on one task; the examples learned from."""
    config, strategy, learner = prepared.config, prepared.strategy, prepared.learner
    training = Training(config, strategy, learner, task, examples)
    training.micro_batch_size = state.micro_batch_size or training.micro_batch_size
    if state.training is not None:
        training.load_state_dict(state.training)
    report.start_task(f"{task.name} {task.position + 1}/{len(prepared.tasks)}", training.steps, training.step)
    reported = training.seen
    while training.step < training.steps:
        with learner.clock.measure("train"):
            training.run_step()
        due = config.checkpoint_every is not None and training.step % config.checkpoint_every == 0
        last = training.step == training.steps
        if len(training.losses) == REPORT_EVERY or due or last or signals.received:
            report.step(training.step, training.seen - reported, training.take_loss())
            reported = training.seen
        if due or last or signals.received:
            training.check_weights()
        if (due or signals.received) and not last:
            state.training, state.seconds = training.state_dict(), learner.clock.read()
            _save_and_stop_if_asked(prepared, state, folder, signals)
    report.end_task()
    state.training, state.micro_batch_size = None, training.micro_batch_size
    return training.seen


def _save_and_stop_if_asked(prepared: Prepared, state: State, folder: RunFolder, signals: Interrupts) -> None:
    if prepared.strategy.resumable:
        save(prepared, state, folder)
    if signals.received is not None:
        way = "go on with" if prepared.strategy.resumable else "its state cannot be saved, start again with"
        raise Interrupted(f"stopped; {way}: python -m clbench resume {folder.path}", signals.received)


def _evaluate(prepared: Prepared) -> list[Evaluation | None]:
    """Every task's test set that can be answered now, future ones too."""
    learner = prepared.learner
    with learner.clock.measure("eval"):
        return [
            evaluate(learner, prepared.strategy, examples, position) if measurable(learner, position) else None
            for position, examples in enumerate(prepared.tests)
        ]


def _result(prepared: Prepared, state: State, clock: Clock, peak_memory: int) -> dict[str, Any]:
    """The content of result.json."""
    config, seconds = prepared.config, clock.read()
    added = parameter_bytes(prepared.learner.model) - prepared.model_bytes
    return {
        "schema_version": 1,
        "status": "complete",
        "scenario": config.scenario,
        "setting": config.setting,
        "strategy": config.strategy,
        "model": config.model,
        "seed": config.seed,
        "tasks": [task.name for task in prepared.tasks],
        "limited": config.limit is not None,
        "micro_batch_size": state.micro_batch_size,
        "accuracy_matrix": state.accuracy,
        "forgetting_matrix": forgetting_matrix(state.accuracy),
        "metrics": compute_metrics(state.accuracy),
        "macro_f1_matrix": state.macro_f1,
        "metrics_f1": compute_metrics(state.macro_f1),
        "forgetting_warnings": [warning["text"] for warning in state.warnings],
        "cost": {
            "train_seconds": seconds.get("train", 0.0),
            "fisher_seconds": seconds.get("fisher", 0.0),
            "eval_seconds": seconds.get("eval", 0.0),
            "wall_seconds": seconds["wall"],
            "peak_memory_bytes": peak_memory,
            "stored_bytes": tensor_bytes(prepared.strategy.state_dict()) + added,
            "trainable_parameters": state.trainable_parameters,
            "examples_seen": state.examples_seen,
        },
    }
