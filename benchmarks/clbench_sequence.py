"""clbench over a sequence of tasks: the engine itself, as ``clbench run`` calls it, on a results folder of its own."""

from __future__ import annotations

import json
import tempfile
import time
from itertools import pairwise

from benchmarks.sequences import Outcome, TaskSequence
from clbench import engine
from clbench.engine import Reporter
from clbench.models import import_libraries
from clbench.plugins import make_plan
from clbench.results import RunFolder


def run(sequence: TaskSequence) -> Outcome:
    """Run it; the seconds of its parts come from the run's own log."""
    import_libraries()  # the peers import before they are timed, too
    with tempfile.TemporaryDirectory(prefix="clbench-speed-") as folder:
        plan = make_plan({**sequence.options(), "output_dir": folder})
        start = time.perf_counter()
        result = engine.run(plan, Reporter())
        seconds = time.perf_counter() - start
        run_folder = engine.run_folder(plan.config)
        rows, texts = read_rows(run_folder), len(run_folder.read_predictions()["index"])
    load = rows[0]["prepare"]
    return Outcome(
        load_seconds=load,
        sequence_seconds=seconds - load,
        train_seconds=increases(rows, "train"),
        fisher_seconds=increases(rows, "fisher"),
        eval_seconds=[total(rows[0], "eval"), *increases(rows, "eval")],
        optimizer_steps=0,
        texts_trained=result["cost"]["examples_seen"],
        texts_evaluated=texts,
        accuracy=result["accuracy_matrix"],
        peak_memory_bytes=result["cost"]["peak_memory_bytes"],
        precision=plan.config.precision,
    )


def read_rows(folder: RunFolder) -> list[dict[str, float]]:
    """The seconds by purpose that the log gives with each row of the matrix, of all the run until then."""
    lines = (folder.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry["seconds"] for entry in map(json.loads, lines) if entry["event"] == "row"]


def total(seconds: dict[str, float], purpose: str) -> float:
    """The seconds of a purpose with its parts ("train" with "train/strategy")."""
    return sum(value for name, value in seconds.items() if name.split("/")[0] == purpose)


def increases(rows: list[dict[str, float]], purpose: str) -> list[float]:
    """The seconds that each task added to a purpose."""
    return [total(after, purpose) - total(before, purpose) for before, after in pairwise(rows)]
