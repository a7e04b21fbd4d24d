"""What came of the tasks in a Trainer, and the run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from clbench.config import RunConfig, identity
from clbench.data import Example, TaskData
from clbench.engine import row_warnings, tensor_bytes, warning_texts
from clbench.errors import InputError, RunError
from clbench.files import expand
from clbench.integrations.trainer.arguments import compared
from clbench.integrations.trainer.contents import pool_hash
from clbench.integrations.trainer.hooks import KEPT, TaskHooks
from clbench.integrations.trainer.rows import rows_hash
from clbench.kinds import Kind
from clbench.learner import Learner
from clbench.models import describe_hardware, ranks
from clbench.results import RunFolder, compute_metrics, costs_depend_on, describe_environment, forgetting_matrix
from clbench.strategy import Strategy
from clbench.toolkit import Evaluation

# Of an evaluation, beside its kind.
STORED = ("labels", "predictions", "confidences", "measure")
SPENT = ("train", "fisher", "eval")
# What the folder says of a run that `clbench run` says too, beside its training.
SAID = ("scenario", "strategy", "model", "setting", "seed", "scenario_args", "eval_split", "device", "output_dir")


class Outcome:
    """The rows of the matrix and the predictions, task after task.

    Attributes:
        tasks: the names of those that have ended.
        learned: the names of the parameters that learned in any of them.
        start: hashes of the weights before the first.
        frozen: a hash of the names of the parameters that did not learn, for each task that had some.
    """

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.arguments: dict[str, dict[str, Any]] = {}
        self.data: dict[str, str] = {}
        self.pools: dict[str, str] = {}
        self.start: dict[str, str] = {}
        self.frozen: dict[str, str] = {}
        self.rows: list[list[Evaluation | None]] = []
        self.warnings: list[dict[str, Any]] = []
        self.learned: list[str] = []
        self.seen = self.trainable = 0

    def add(
        self, hooks: TaskHooks, test: Sequence[Example], evaluations: list[Evaluation | None]
    ) -> list[float | None]:
        """Take in an ended task; the accuracy on each task so far."""
        task = hooks.task
        if any(not isfinite(c) for evaluation in evaluations if evaluation for c in evaluation.confidences):
            raise RunError(f"after task {task.name!r} the model's answers are no numbers; {KEPT}")
        self.tasks.append(task.name)
        processes = {"world_size": ranks.count()} if ranks.count() > 1 else {}
        self.arguments[task.name] = {**hooks.arguments, **processes}
        self.data[task.name] = rows_hash([*task.train, *test])
        self.pools[task.name] = pool_hash([*task.train, *test])
        self.seen += hooks.seen
        learning = dict(hooks.learner.named_parameters())
        self.learned = list(dict.fromkeys([*self.learned, *learning]))
        if frozen := [name for name, _ in hooks.learner.model.named_parameters() if name not in learning]:
            self.frozen[task.name] = identity({"names": frozen})
        self.trainable = max(self.trainable, sum(parameter.numel() for parameter in learning.values()))
        self.rows.append(evaluations)
        learned = [self.scores(position)[position] for position in range(len(self.rows) - 1)]
        advice = "try more epochs or another learning_rate"
        self.warnings += row_warnings(self.tasks, learned, evaluations, len(self.rows), advice)
        return self.scores(len(self.rows) - 1)

    def check(self, learner: Learner, task: TaskData, found: str, arguments: dict[str, Any]) -> None:
        """Refuse a task that is another one, or is trained otherwise, than that of the same turn before.

        Args:
            learner: with the labels of the tasks that have ended.
            task: the one that is attached.
            found: SHA-256 of its data.
            arguments: what it is trained with.

        Raises:
            InputError: its name, data, labels or training arguments differ.
        """
        expected = self.tasks[task.position]
        if task.name != expected:
            names = ", ".join(self.tasks)
            raise InputError(f"attach(task={task.name!r}): state_dir has ended {names}; allowed: {expected!r}")
        if self.data[expected] != found or learner.labels.columns[task.position] != task.columns:
            fault = "its data or labels are not those that it was trained on"
            raise InputError(f"attach(task={task.name!r}): {fault}; allowed: the same, or a state_dir that is new")
        ended = self.arguments[expected]
        before, now = compared(ended, ended.get("world_size", 1)), compared(arguments, ranks.count())
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                raise InputError(
                    f"attach(task={task.name!r}): it was trained with {name} = {before.get(name)!r}, not "
                    f"{now.get(name)!r}; allowed: the same, or a state_dir that is new"
                )

    def warned(self) -> list[str]:
        """What the last task's end warned of."""
        return [warning["text"] for warning in self.warnings if warning["after_task"] == len(self.rows)]

    def scores(self, row: int) -> list[float | None]:
        """A row of the matrix, of the tasks so far; the first is after the first task."""
        return [evaluation.score if evaluation else None for evaluation in self.rows[row]]

    def state_dict(self) -> dict[str, Any]:
        """JSON values."""
        rows = [[e and {name: getattr(e, name) for name in STORED} for e in row] for row in self.rows]
        return {**vars(self), "rows": rows}

    def load_state_dict(self, state: Mapping[str, Any], kind: Kind) -> None:
        """What :meth:`state_dict` gave, of tasks of ``kind``."""
        rows = [[e and Evaluation(**e, kind=kind) for e in row] for row in state["rows"]]
        vars(self).update({**state, "rows": rows})

    def write(
        self, config: RunConfig, hashes: Mapping[str, str], learner: Learner, strategy: Strategy, peak: int
    ) -> dict[str, Any]:
        """Write config.json, environment.json, predictions.parquet and result.json; the result and "folder".

        ``peak`` is the most memory that a process has needed, in bytes.
        """
        hardware = describe_hardware(learner.device, learner.precision)
        said = {key: getattr(config, key) for key in SAID}
        settings = {**said, "evaluate": "seen", "plugin_hashes": dict(hashes), "data_sha256": self.data, **self.start}
        settings["source_sha256"] = identity(self.pools)
        settings |= {"frozen_sha256": self.frozen} if self.frozen else {}
        first, *others = self.arguments.values()
        same = all(other == first for other in others)
        settings["trainer"] = first if same else self.arguments
        sha256 = identity(settings)
        model = Path(config.model).name
        place = expand(config.output_dir, "output_dir"), config.scenario, config.strategy, model, config.seed
        folder = RunFolder.locate(*place, sha256[:8])
        folder.create()
        with folder.locked():
            folder.remove_result()
            folder.write_config({**settings, "hash8": sha256[:8]})
            folder.write_environment(describe_environment(self.data, self.start.get("model_sha256", ""), hardware))
            predictions = folder.write_predictions(self._predictions(learner))
            matrix = self._matrix([self.scores(row) for row in range(len(self.rows))])
            result = {
                **{"schema_version": 1, "status": "complete", "tasks": self.tasks, "limited": False},
                **{key: said[key] for key in ("scenario", "setting", "strategy", "model", "seed")},
                "hardware": [costs_depend_on(hardware)],
                "measure": learner.measures[0],
                **{"accuracy_matrix": matrix, "forgetting_matrix": forgetting_matrix(matrix)},
                "metrics": compute_metrics(matrix),
                **self._beside(learner.kind.beside),
                **warning_texts(self.warnings),
                "cost": self._cost(learner, strategy, peak),
                **{"config_sha256": sha256, "predictions_sha256": predictions},
            }
            folder.write_result(result)
        return {**result, "folder": str(folder.path)}

    def _matrix(self, rows: list[list[float | None]]) -> list[list[float | None]]:
        """Rows as wide as there are tasks, the one before training, which was not measured, among them."""
        return [[*row, *[None] * (len(rows) - len(row))] for row in [[], *rows]]

    def _beside(self, measure: str) -> dict[str, Any]:
        """The matrix of the kind's second measure, and of macro-F1 the metrics, too."""
        matrix = self._matrix([[e.beside if e else None for e in row] for row in self.rows])
        found: dict[str, Any] = {f"{measure}_matrix": matrix} if measure else {}
        return {**found, "metrics_f1": compute_metrics(matrix)} if measure == "macro_f1" else found

    def _predictions(self, learner: Learner) -> dict[str, list[Any]]:
        spelled = partial(_spell, learner.labels.names)
        columns: dict[str, list[Any]] = {
            name: [] for name in ("after_task", "task", "index", "label", "prediction", "confidence")
        }
        for row, evaluations in enumerate(self.rows, 1):
            for task, evaluation in zip(self.tasks, evaluations, strict=False):
                if evaluation is not None:
                    count = len(evaluation.labels)
                    columns["after_task"] += [row] * count
                    columns["task"] += [task] * count
                    columns["index"] += range(count)
                    columns["label"] += map(spelled, evaluation.labels)
                    columns["prediction"] += map(spelled, evaluation.predictions)
                    columns["confidence"] += evaluation.confidences
        return columns

    def _cost(self, learner: Learner, strategy: Strategy, peak: int) -> dict[str, Any]:
        seconds = learner.clock.read()
        total = {purpose: sum(v for k, v in seconds.items() if k.split("/")[0] == purpose) for purpose in SPENT}
        return {
            **{f"{purpose}_seconds": value for purpose, value in total.items()},
            "wall_seconds": seconds["wall"],
            "peak_memory_bytes": peak,
            "stored_bytes": tensor_bytes(strategy.state_dict()),
            "trainable_parameters": self.trainable,
            "examples_seen": self.seen,
        }


def _spell(names: Sequence[str], answer: int | str) -> str:
    """A label's name, or what was written."""
    return names[answer] if isinstance(answer, int) else answer
