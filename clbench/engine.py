"""The run: task after task, step after step, with the strategy's hooks. Read it from top to bottom."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clbench import environment
from clbench.checkpoint import load_checkpoint, remove_checkpoint, save_checkpoint, tensor_bytes
from clbench.clock import Clock
from clbench.config import RunConfig
from clbench.errors import InputError
from clbench.evaluator import Evaluation, evaluate, measurable
from clbench.metrics import compute_metrics, forgetting_matrix
from clbench.model_names import fingerprint
from clbench.plan import Plan
from clbench.prepare import Prepared, parameter_bytes, prepare
from clbench.progress import Reporter
from clbench.results import PREDICTION_COLUMNS, RunFolder
from clbench.training import train_task

# A task that falls below this share of its accuracy right after learning raises a forgetting warning.
FORGETTING_THRESHOLD = 0.7


@dataclass
class State:
    """How far a run is and what it has measured; all of it goes into the checkpoint."""

    rows: int = 0  # rows of the matrix that are done; row 0 is before training
    accuracy: list[list[float | None]] = field(default_factory=list)
    macro_f1: list[list[float | None]] = field(default_factory=list)
    predictions: dict[str, list[Any]] = field(default_factory=lambda: {column: [] for column in PREDICTION_COLUMNS})
    warnings: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    examples_seen: int = 0
    trainable_parameters: int = 0
    learned: list[str] = field(default_factory=list)  # the parameters that learned in any task


def run_folder(config: RunConfig) -> RunFolder:
    """Where the run of ``config`` lies."""
    model = Path(config.model).name if Path(config.model).is_dir() else config.model
    output = Path(config.output_dir).expanduser()
    return RunFolder.locate(output, config.scenario, config.strategy, model, config.seed, config.hash8)


def run(plan: Plan, report: Reporter) -> dict[str, Any]:
    """Run ``plan`` to its end and return its result.

    A finished run's result is read and returned; an unfinished one goes on after its last finished task.

    Raises:
        InputError: the tasks or the model cannot be used, or the folder holds something else.
        RunError: training failed; the tasks that were finished are kept.
    """
    config, folder, clock = plan.config, run_folder(plan.config), Clock()
    if config.overwrite:
        (folder.path / "result.json").unlink(missing_ok=True)
        remove_checkpoint(folder.checkpoint)
    elif (finished := folder.read_result()) is not None:
        report.say(f"finished before, read from {folder.path}")
        return finished
    folder.write_config({**config.model_dump(), "hash8": config.hash8})
    device = environment.choose_device(config.device)
    environment.reset_peak_memory(device)
    prepared = prepare(plan, clock)
    surroundings = environment.describe_environment(
        prepared.scenario_tasks, fingerprint(config.model), device, config.precision
    )
    state = _restore(prepared, folder, surroundings["data_sha256"], report)
    folder.write_environment(surroundings)

    names = [task.name for task in prepared.tasks]
    for row in range(state.rows, len(names) + 1):
        trained = row == 0 or _train(prepared, state, row - 1, report)
        _record(prepared, state, row, _evaluate(prepared) if trained else [None for _ in names])
        label = "before training" if row == 0 else f"after {names[row - 1]}"
        report.row(label, names, state.accuracy[row])
        for warning in state.warnings:
            if warning["after_task"] == row:
                report.warn(warning["text"])
                folder.append_log({"event": "forgetting", **warning})
        state.seconds = clock.read()
        folder.append_log({"event": "row", "after_task": row, "accuracy": state.accuracy[row], **state.seconds})
        if row < len(names) or config.keep_checkpoints:
            _save(prepared, state, folder, surroundings["data_sha256"])

    result = _result(prepared, state, clock, environment.peak_memory(device))
    folder.write_predictions(state.predictions)
    folder.write_result(result)
    if not config.keep_checkpoints:
        remove_checkpoint(folder.checkpoint)
    return result


def _train(prepared: Prepared, state: State, position: int, report: Reporter) -> bool:
    """Train at ``position``; False when the strategy learns nothing there."""
    learner = prepared.learner
    sources = list(prepared.strategy.training_tasks(position, len(prepared.tasks)))
    if not sources:
        return False
    learner.tasks_seen = max(learner.tasks_seen, *(source + 1 for source in sources))
    task = prepared.tasks[position]
    examples = [example for source in sources for example in prepared.tasks[source].train]
    prepared.strategy.before_task(learner, task)
    learning = dict(learner.named_parameters())
    state.learned = list(dict.fromkeys([*state.learned, *learning]))
    state.trainable_parameters = max(state.trainable_parameters, sum(p.numel() for p in learning.values()))
    with learner.clock.measure("train"):
        state.examples_seen += train_task(prepared.config, prepared.strategy, learner, task, examples, report)
    prepared.strategy.after_task(learner, task)
    return True


def _evaluate(prepared: Prepared) -> list[Evaluation | None]:
    """Every task's test set that can be answered now, future ones too."""
    learner = prepared.learner
    with learner.clock.measure("eval"):
        return [
            evaluate(learner, prepared.strategy, examples, position) if measurable(learner, position) else None
            for position, examples in enumerate(prepared.tests)
        ]


def _record(prepared: Prepared, state: State, row: int, evaluations: list[Evaluation | None]) -> None:
    """Add a row to the matrices, its predictions, and a warning for each task that has been forgotten."""
    state.rows = row + 1
    state.accuracy.append([e.accuracy if e else None for e in evaluations])
    state.macro_f1.append([e.macro_f1 if e else None for e in evaluations])
    names = prepared.learner.labels.names
    for position, evaluation in enumerate(evaluations):
        task = prepared.tasks[position].name
        if evaluation is None:
            continue
        count = len(evaluation.labels)
        columns: dict[str, list[Any]] = {
            "after_task": [row] * count,
            "task": [task] * count,
            "index": list(range(count)),
            "label": [names[i] for i in evaluation.labels],
            "prediction": [names[i] for i in evaluation.predictions],
            "confidence": evaluation.confidences,
        }
        for column, values in columns.items():
            state.predictions[column] += values
        learned = state.accuracy[position + 1][position] if position + 1 < row else None
        if learned is not None and evaluation.accuracy < FORGETTING_THRESHOLD * learned:
            text = f"{task} is being forgotten: accuracy {evaluation.accuracy:.3f} after {prepared.tasks[row - 1].name}"
            text += f", {learned:.3f} right after learning"
            state.warnings.append({"after_task": row, "task": task, "text": text})


def _save(prepared: Prepared, state: State, folder: RunFolder, data_sha256: dict[str, str]) -> None:
    model = prepared.learner.model
    # Frozen weights come back from the pretrained model; what learned and the buffers are saved.
    frozen = {name for name, _ in model.named_parameters()} - set(state.learned)
    weights = {name: value for name, value in model.state_dict().items() if name not in frozen}
    content = {
        "state": asdict(state),
        "data_sha256": data_sha256,
        "tasks_seen": prepared.learner.tasks_seen,
        "model": weights,
        "strategy": prepared.strategy.state_dict(),
    }
    save_checkpoint(folder.checkpoint, content, prepared.config.hash8)


def _restore(prepared: Prepared, folder: RunFolder, data_sha256: dict[str, str], report: Reporter) -> State:
    """The state to go on from: a checkpoint's, or a fresh one."""
    content = load_checkpoint(folder.checkpoint, prepared.config.hash8)
    if content is None:
        return State()
    if content["data_sha256"] != data_sha256:
        changed = [name for name, digest in data_sha256.items() if content["data_sha256"].get(name) != digest]
        raise InputError(
            f"the data of {', '.join(changed) or 'a task'} changed since {folder.path} was begun; "
            "restore them, or give --overwrite to start again"
        )
    state = State(**content["state"])
    prepared.learner.tasks_seen = content["tasks_seen"]
    prepared.strategy.load_state_dict(content["strategy"])
    prepared.learner.model.load_state_dict(content["model"], strict=False)
    prepared.learner.clock.resume(state.seconds)
    report.say(f"resuming {folder.path} after {state.rows - 1} of {len(prepared.tasks)} tasks")
    return state


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
