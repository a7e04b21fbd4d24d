"""Simulated runs whose answers are drawn: what is different between strategies is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from clbench.results import COSTS, RunFolder, compute_metrics, forgetting_matrix

TASKS = ("first", "second", "third")


def write_answers(
    results: Path, strategy: str, seed: int, right: dict[str, np.ndarray[Any, Any]], **changes: Any
) -> Path:
    """A finished run that was measured at the end only: ``right`` says for each task which examples it has right.

    ``changes`` are of result.json, and ``config`` of config.json; ``labels`` is the true label of every example.
    """
    tasks = list(right)
    config = {"epochs": 2, "device": "cpu", **changes.pop("config", {})}
    true = changes.pop("labels", "yes")
    identity = {"scenario": "sim", "setting": "task", "strategy": strategy, "model": "tiny", "seed": seed}
    folder = RunFolder.locate(results, "sim", strategy, "tiny", seed, "00000000")
    folder.write_config({**identity, **config})
    matrix: list[list[float | None]] = [[None] * len(tasks) for _ in range(len(tasks))]
    matrix.append([float(right[task].mean()) for task in tasks])
    rows = [(task, index, bool(own)) for task in tasks for index, own in enumerate(right[task])]
    sha256 = folder.write_predictions(
        {
            "after_task": [len(tasks)] * len(rows),
            "task": [task for task, _, _ in rows],
            "index": [index for _, index, _ in rows],
            "label": [true] * len(rows),
            "prediction": [true if own else "other" for _, _, own in rows],
            "confidence": [0.75] * len(rows),
        }
    )
    result: dict[str, Any] = {
        **{"schema_version": 1, "status": "complete", **identity, "tasks": tasks, "limited": False},
        **{"accuracy_matrix": matrix, "forgetting_matrix": forgetting_matrix(matrix)},
        **{"metrics": compute_metrics(matrix), "cost": dict.fromkeys(COSTS), "predictions_sha256": sha256},
    }
    folder.write_result({**result, **changes})
    return folder.path


def simulate(results: Path, gains: dict[str, float], seeds: int, examples: int = 300) -> None:
    """Runs of a naive strategy that is right with probability .7, and of others with so much more.

    Seeds differ by .02 in either direction for all strategies alike, and by .01 for each by itself; whether an example
    is easy is shared, too.
    """
    generator = np.random.default_rng(18)
    for seed in range(seeds):
        shared = generator.normal(0, 0.02)
        ease = {task: generator.random(examples) for task in TASKS}
        for strategy, gain in {"naive": 0.0, **gains}.items():
            chance = 0.7 + shared + gain + generator.normal(0, 0.01)
            write_answers(results, strategy, seed, {task: ease[task] < chance for task in TASKS})
