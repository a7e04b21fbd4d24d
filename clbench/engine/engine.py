"""The run: task after task, step after step, with the strategy's hooks. Read it from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import clbench
from clbench.clock import Clock
from clbench.config import RunConfig
from clbench.data import Example, TaskData, learned_together
from clbench.engine import interrupts
from clbench.engine.beside import ability_line, measure_beside
from clbench.engine.checkpoint import remove_checkpoint
from clbench.engine.checkpoint_writer import CheckpointWriter, checkpoint_writer
from clbench.engine.curve import MOST_EXAMPLES, measure_end, measure_inside
from clbench.engine.finished import begin_again_for_model, read_finished, run_folder as run_folder
from clbench.engine.first_task import Losses, shared_first_task
from clbench.engine.forecast import forecast
from clbench.engine.interrupts import Interrupted, Interrupts
from clbench.engine.model_out import keep_models
from clbench.engine.outcome import make_result
from clbench.engine.preparation import Prepared, prepare
from clbench.engine.reporter import Reporter, Stopped, tell_notes
from clbench.engine.sharing import row_path, shared_row
from clbench.engine.state import State, begin_part, prediction_columns, record_row, restore, save
from clbench.models import (
    check_stored,
    choose_device,
    describe_hardware,
    deterministic,
    exhaustion_told,
    import_libraries,
    peak_memory,
    ranks,
    reset_peak_memory,
    unused_accelerator,
)
from clbench.plugins import Plan
from clbench.results import RunFolder, describe_environment
from clbench.toolkit import Training, evaluate_all

# The loss is read from the device every so many steps: for progress, and to find NaN.
REPORT_EVERY = 10


@dataclass(frozen=True)
class Job:
    """A run in progress: what it works on, where it is, and whom it tells."""

    prepared: Prepared
    state: State
    folder: RunFolder
    writer: CheckpointWriter
    signals: Interrupts
    report: Reporter


def run(plan: Plan, report: Reporter) -> dict[str, Any]:
    """Run ``plan`` to its end and return its result.

    A finished run's result is read and returned; an unfinished one goes on from its last checkpoint.

    Raises:
        InputError: the tasks or the model cannot be used, or the folder holds something else.
        RunError: training failed; the tasks that were finished are kept.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    folder = run_folder(plan.config)
    finished = ranks.of_first(partial(read_finished, plan.config, folder, report))
    if finished is not None:
        return finished
    folder.create()
    with folder.locked(), interrupts.watch() as signals:
        # Another process may have finished it since.
        finished = ranks.of_first(partial(read_finished, plan.config, folder, report))
        if finished is not None:
            return finished
        ranks.of_first(partial(_make_way, plan.config, folder, report))
        try:
            with deterministic(choose_device(plan.config.device), plan.config.deterministic):
                result = _run(plan, folder, signals, report)
        except Stopped:
            remove_checkpoint(folder.checkpoint)
            raise
        finally:
            report.close()
        if not plan.config.keep_checkpoints:
            ranks.of_first(partial(remove_checkpoint, folder.checkpoint))
    if (asked := signals.agreed()) is not None:  # in what came after the last checkpoint
        raise Interrupted(f"stopped; {folder.path} is finished", asked)
    return result


def _make_way(config: RunConfig, folder: RunFolder, report: Reporter) -> None:
    """Take away what lies in the folder and is to be made anew."""
    if config.overwrite and not folder.is_being_overwritten():
        folder.remove_result()
        folder.remove_models()
        remove_checkpoint(folder.checkpoint)
    elif folder.read_result() is not None:
        begin_again_for_model(config, folder, report)


def _run(plan: Plan, folder: RunFolder, signals: Interrupts, report: Reporter) -> dict[str, Any]:
    config = plan.config
    device = choose_device(config.device)
    if (idle := unused_accelerator(device)) is not None:
        report.note(f"{idle} is here and not used: it is not supported yet")
    import_libraries()
    clock = Clock(config.profile, device)  # from here on: imports are no part of what a strategy costs
    reset_peak_memory(device)
    for line in plan.notes:
        report.note(line)
    with clock.measure("prepare"), exhaustion_told(device, "while the model was loaded", "try a smaller model"):
        prepared = prepare(plan, clock)
        for line in prepared.warnings:
            report.warn(line)
        for line in prepared.loaded.notes:
            report.note(line)
        settings = {**config.model_dump(), "clbench": clbench.__version__, "hash8": config.hash8}
        folder.write_config(settings)
        state = restore(prepared, folder, report)
        if state.rows:
            prepared.learner.take_events()  # noted while preparing, and logged when the run was begun
        folder.cut_log(state.rows)
        hardware = describe_hardware(device, config.precision)
        begin_part(state, hardware, report)
        environment = describe_environment(prepared.data_sha256, config.model_sha256, hardware)
        notes = {"data_notes": tell_notes(plan.tasks, report), "scenario_notes": list(plan.notes)}
        if not state.rows and (expected := forecast(prepared)) is not None:
            report.say(expected)
        if config.evaluate_every:
            report.say(
                f"each {config.evaluate_every} steps the tasks learned so far are measured on at most {MOST_EXAMPLES} "
                f"{config.eval_split} examples each"
            )
        folder.write_environment({**environment, **notes, "parts": state.parts})
    with clock.left_out():
        report.begin(folder.path, settings, state.rows, state.steps)
    with checkpoint_writer(folder.checkpoint, config.sha256) as writer:
        job = Job(prepared, state, folder, writer, signals, report)
        for row in range(state.rows, len(prepared.tasks) + 1):
            place = f"in task {prepared.tasks[row - 1].name!r}" if row else "before training"
            with exhaustion_told(device, place, "try a smaller model, or a strategy that keeps less"):
                trained = row == 0 or _train(job, row - 1)
                _record(job, row, trained)
                # Before the checkpoint: what goes on from there has not always what answers.
                if row and (trained or row == len(prepared.tasks)):
                    keep_models(prepared, state, folder, report)
                if row < len(prepared.tasks) or config.keep_checkpoints:
                    _save_and_stop_if_asked(job, signals.agreed())
    folder.remove_result()  # an earlier one, where the model was asked for later
    with clock.measure("results"):
        predictions_sha256 = folder.write_predictions(prediction_columns(prepared, state))
    result = make_result(prepared, state, ranks.largest(peak_memory(device)))
    result |= {"config_sha256": config.sha256, "predictions_sha256": predictions_sha256}
    if config.evaluate_every:
        result |= {"curve_examples": MOST_EXAMPLES, "curve_sha256": folder.write_curve(state.curve)}
    folder.write_config(settings)  # again: somebody may have taken the folder away meanwhile
    folder.write_result(result)
    report.result(result)
    return result


def _train(job: Job, position: int) -> bool:
    """Train at ``position``; False when the strategy learns nothing there."""
    strategy, learner, state, tasks = job.prepared.strategy, job.prepared.learner, job.state, job.prepared.tasks
    sources = list(strategy.training_tasks(position, len(tasks)))
    if not sources:
        return False
    learner.tasks_seen = max(learner.tasks_seen, *(source + 1 for source in sources))
    examples = [example for source in sources for example in tasks[source].train]
    task = learned_together(tasks, position, sources)
    if state.training is None:
        learner.skipped_steps = 0
        strategy.before_task(learner, task)
    learning = dict(learner.named_parameters())
    check_stored(learning.items(), job.prepared.config.strategy)
    state.learned = list(dict.fromkeys([*state.learned, *learning]))
    state.trainable_parameters = max(state.trainable_parameters, sum(p.numel() for p in learning.values()))
    if learning:
        with learner.clock.measure("train"):
            seen = strategy.train(learner, task, job.prepared.config)
            state.examples_seen += _take_steps(job, task, sources, examples) if seen is None else seen
        _tell_skipped_steps(job, task)
    else:  # nothing to step: the strategy takes what it needs from the examples in after_task
        state.examples_seen += len(examples)
    with learner.clock.measure("train/strategy"):
        strategy.after_steps(learner, task)
        strategy.after_task(learner, task)
    return True


def _take_steps(job: Job, task: TaskData, sources: Sequence[int], examples: list[Example]) -> int:
    """The steps on one task, or where another run was after the same steps; the examples learned from."""
    config, state, report = job.prepared.config, job.state, job.report
    shared = shared_first_task(job.prepared, state, sources)
    training = Training(config, job.prepared.strategy, job.prepared.learner, task, examples)
    training.micro_batch_size = state.micro_batch_size or training.micro_batch_size
    if state.training is not None:
        training.load_state_dict(state.training)
    elif state.optimizer:
        training.carry_on(state.optimizer)
    losses = shared.take(training) if shared is not None else None
    if losses is not None:
        report.say(f"{task.name}: learned before by another run, with the same steps")
    report.start_task(f"{task.name} {task.position + 1}/{len(job.prepared.tasks)}", training.steps, training.step)
    if losses is not None:
        for step, _, loss in losses:
            report.step(step, 0, loss)
    else:
        losses = _step_to_the_end(job, task, training)
        if shared is not None:
            shared.give(training, losses)
    report.end_task()
    state.training, state.micro_batch_size = None, training.micro_batch_size
    if config.optimizer_state == "carried":
        state.optimizer |= training.optimizer_state()
    state.steps += training.step
    return training.seen


def _step_to_the_end(job: Job, task: TaskData, training: Training) -> Losses:
    """Step after step, from wherever ``training`` is; what was told of the losses."""
    config, state, signals, report = job.prepared.config, job.state, job.signals, job.report
    every = config.evaluate_every or 0
    losses: Losses = []
    reported = training.seen
    last = training.step == training.steps
    while not last:
        training.run_step()
        due = config.checkpoint_every is not None and training.step % config.checkpoint_every == 0
        with training.learner.clock.part("train/strategy"):
            last = training.strategy.stop(training.learner, task) or training.step == training.steps
        if every and training.step % every == 0 and not last:
            measure_inside(job.prepared, state, task.position, training.step)
        asked = signals.agreed()
        if len(training.losses) == REPORT_EVERY or due or last or asked:
            losses.append((training.step, training.seen - reported, training.take_loss()))
            with job.prepared.learner.clock.left_out():
                report.step(*losses[-1])
            reported = training.seen
            job.writer.check()
        if due or last or asked:
            training.check_weights()
        if (due or asked) and not last:
            state.training = training.state_dict()
            _save_and_stop_if_asked(job, asked)
    return losses


def _tell_skipped_steps(job: Job, task: TaskData) -> None:
    """Warn of steps in which fp16's gradients overflowed, so that the weights did not move; a few are its way."""
    if skipped := job.prepared.learner.skipped_steps:
        job.state.skipped_steps[task.name] = skipped
        text = f"{task.name}: {skipped} steps were skipped, for their gradients were too large for fp16"
        text += "; if they are more than a few, try --precision bf16 or fp32"
        warning = {"event": "skipped_steps", "after_task": task.position + 1, "task": task.name, "steps": skipped}
        job.state.warnings.append({**warning, "text": text})


def _record(job: Job, row: int, trained: bool) -> None:
    """Evaluate the tasks' test sets, those of future tasks too, and say and log what came of it."""
    prepared, state, folder, names = job.prepared, job.state, job.folder, [task.name for task in job.prepared.tasks]
    learner = prepared.learner
    with learner.clock.measure("eval"):
        seen = prepared.config.evaluate == "seen"
        tests = [
            test if trained and (position < row or not seen) else [] for position, test in enumerate(prepared.tests)
        ]
        path = None
        if row <= 1 and prepared.shared is not None and prepared.as_it_came is not None:
            path = row_path(prepared.shared, prepared.config, row, prepared.as_it_came, learner)
        if path is None:
            evaluations = evaluate_all(learner, prepared.strategy, tests)
        else:
            evaluations = shared_row(learner, prepared.strategy, tests, path)
        record_row(prepared, state, row, evaluations)
        measure_beside(prepared, state, trained, tests)
        if prepared.config.evaluate_every and row and trained:
            measure_end(prepared, state, row - 1, evaluations)
    with learner.clock.left_out():
        job.report.row("before training" if row == 0 else f"after {names[row - 1]}", names, state.accuracy[row])
    if line := ability_line(prepared, state):
        job.report.say(line)
    for event in learner.take_events():
        if "text" in event:
            job.report.say(event["text"])
        folder.append_log({"after_task": row, **event})
    for warning in state.warnings:
        if warning["after_task"] == row:
            job.report.warn(warning["text"])
            folder.append_log(warning)
    seconds = learner.clock.read()
    folder.append_log({"event": "row", "after_task": row, "accuracy": state.accuracy[row], "seconds": seconds})


def _save_and_stop_if_asked(job: Job, asked: int | None) -> None:
    """Begin to save the state; where a signal ``asked`` for an end, wait until that is done, and stop."""
    strategy = job.prepared.strategy
    if strategy.resumable:
        save(job.prepared, job.state, job.writer)
    if asked is not None:
        ranks.of_first(job.writer.wait)
        way = "go on with" if strategy.resumable else "its state cannot be saved, start again with"
        raise Interrupted(
            f"stopped; {way}: python -m clbench resume {job.folder.path}",
            asked,
        )
