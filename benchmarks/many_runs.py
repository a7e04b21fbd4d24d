"""A results folder of thousands of generated runs, and how long ``clbench compare`` takes over it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import clbench
from benchmarks.sequences import ROOT, TEXT_SEQ
from clbench.config import make_config
from clbench.results import COSTS, RunFolder, compute_metrics, forgetting_matrix

TESTS = 300  # texts a task, as in text_seq
SCENARIOS = ("text_seq", "tickets", "reviews", "topics")
STRATEGIES = ("naive", "replay", "ewc", "distillation", "joint", "frozen", "independent", "lora_per_task", "si", "mas")
VARIANTS = 5  # settings of each strategy
PREDICTIONS = "predictions.parquet"
PREDICTION_FILES = 50  # of different content; the runs share them in turn


def write_runs(folder: Path, count: int) -> None:
    """``count`` finished runs as clbench writes them: configuration, environment, result and predictions."""
    stream = random.Random(0)
    written: list[tuple[str, bytes]] = []  # the predictions of the first runs, with their hashes
    for number, (seed, scenario, strategy, variant) in enumerate(islice(_kinds(), count)):
        config = make_config({"scenario": scenario, "strategy": strategy, "seed": seed, "lr": 1e-4 * (variant + 1)})
        run = RunFolder.locate(folder, scenario, strategy, config.model, seed, config.hash8)
        run.write_config({**config.model_dump(), "clbench": clbench.__version__, "hash8": config.hash8})
        run.write_environment({"command": "python -m clbench run", "versions": {"torch": "2.13.0"}})
        if number < PREDICTION_FILES:
            sha256 = run.write_predictions(_predictions(stream))
            written.append((sha256, (run.path / PREDICTIONS).read_bytes()))
        else:
            sha256, content = written[number % PREDICTION_FILES]
            (run.path / PREDICTIONS).write_bytes(content)
        run.write_result({**_result(scenario, strategy, seed, stream), "predictions_sha256": sha256})


def compare_seconds(folder: Path) -> float:
    """Wall seconds of ``python -m clbench compare FOLDER`` as a process.

    Raises:
        RuntimeError: it failed or printed nothing.
    """
    command = [sys.executable, "-m", "clbench", "compare", str(folder)]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode or not done.stdout:
        raise RuntimeError(f"compare: exit code {done.returncode}: {done.stderr[-1000:]}")
    return seconds


def _kinds() -> Iterator[tuple[int, str, str, int]]:
    """Seeds of every variant of every strategy on every scenario, without end."""
    seed = 0
    while True:
        for scenario, strategy, variant in product(SCENARIOS, STRATEGIES, range(VARIANTS)):
            yield seed, scenario, strategy, variant
        seed += 1


def _predictions(stream: random.Random) -> dict[str, list[Any]]:
    """As many rows as a run of five tasks has."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("after_task", "task", "index", "label", "prediction", "confidence")
    }
    for row, task in product(range(len(TEXT_SEQ) + 1), TEXT_SEQ):
        columns["after_task"] += [row] * TESTS
        columns["task"] += [task] * TESTS
        columns["index"] += range(TESTS)
        for name in ("label", "prediction"):
            columns[name] += [f"{task} {stream.randrange(5)}" for _ in range(TESTS)]
        columns["confidence"] += [stream.random() for _ in range(TESTS)]
    return columns


def _result(scenario: str, strategy: str, seed: int, stream: random.Random) -> dict[str, Any]:
    tasks = len(TEXT_SEQ)
    matrix: list[list[float | None]] = [[stream.random() for _ in range(tasks)] for _ in range(tasks + 1)]
    return {
        "schema_version": 1,
        "status": "complete",
        "scenario": scenario,
        "setting": "task",
        "strategy": strategy,
        "model": "minilm",
        "seed": seed,
        "tasks": list(TEXT_SEQ),
        "limited": False,
        "accuracy_matrix": matrix,
        "forgetting_matrix": forgetting_matrix(matrix),
        "metrics": compute_metrics(matrix),
        "macro_f1_matrix": matrix,
        "metrics_f1": compute_metrics(matrix),
        "forgetting_warnings": [],
        "cost": {name: stream.uniform(50, 100) for name in COSTS},
    }
