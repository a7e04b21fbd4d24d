"""A run's stored predictions, read back and held against its accuracy matrix."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clbench.errors import InputError
from clbench.kinds import ANSWERS, measure_answers
from clbench.results.folder import PREDICTION_COLUMNS, prediction_schema
from clbench.results.runs import Run
from clbench.results.schema import ACCURACY, REMEDY

if TYPE_CHECKING:
    import pandas as pd

ROUNDING = 1e-6

Cell = tuple[int, str]
"""After how many tasks, and which task's test set."""


@dataclass(frozen=True)
class Answers:
    """One task's test set at one time, in its order: true labels, predicted ones, and their probabilities."""

    labels: tuple[str, ...]
    predictions: tuple[str, ...]
    confidences: tuple[float, ...]


def read_answers(run: Run, cells: Collection[Cell]) -> dict[Cell, Answers]:
    """The predictions of ``run`` in those of ``cells`` that were measured.

    Raises:
        InputError: predictions.parquet is missing or broken, or does not give the matrix of result.json; that is not
            looked at where a kind of a person's own has measured.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = run.folder / "predictions.parquet"
    names = run.result["tasks"]
    matrix = run.result["accuracy_matrix"]
    wanted = sorted(cell for cell in cells if matrix[cell[0]][names.index(cell[1])] is not None)
    if not wanted:
        return {}
    try:
        filters = [[("after_task", "=", after), ("task", "=", task)] for after, task in wanted]
        table = pq.read_table(path, columns=list(PREDICTION_COLUMNS), filters=filters).cast(prediction_schema())
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise InputError(f"{path}: cannot be read: {reason}; {REMEDY}") from error
    if any(column.null_count for column in table.columns):
        raise InputError(f"{path}: has gaps; {REMEDY}")
    found = {cell: _in_order(rows, path) for cell, rows in table.to_pandas().groupby(["after_task", "task"])}
    for after, task in wanted:
        stated, own = matrix[after][names.index(task)], found.get((after, task))
        measure = measure_of(run, task)
        try:
            given = None if own is None else _score(measure, own, stated)
        except (LookupError, ValueError) as error:  # of the measures' libraries, for answers that are none of theirs
            raise InputError(f"{path}: {measure} cannot judge its answers to {task!r}: {error}; {REMEDY}") from error
        if given is None or abs(given - stated) > ROUNDING:
            gives = "none" if given is None else f"{given:.6f}"
            raise InputError(
                f"{path}: for {task!r} after {after} tasks result.json says {measure} {stated:.6f}, and this gives "
                f"{gives}; {REMEDY}"
            )
    if any(len({own.labels for (_, task), own in found.items() if task == name}) > 1 for name in names):
        raise InputError(f"{path}: the test labels of a task differ from time to time; {REMEDY}")
    return found


def measure_of(run: Run, task: str) -> str:
    """What a task's cells of the matrix are."""
    measure: str = run.result.get("measures", {}).get(task) or run.result.get("measure", ACCURACY)
    return measure


def _in_order(rows: pd.DataFrame, path: Path) -> Answers:
    ordered = rows.sort_values("index")
    if list(ordered["index"]) != list(range(len(ordered))) or not ordered["confidence"].between(0, 1).all():
        raise InputError(f"{path}: its index does not count from 0, or a confidence is not 0 to 1; {REMEDY}")
    return Answers(*(tuple(ordered[column].tolist()) for column in ("label", "prediction", "confidence")))


def _score(measure: str, answers: Answers, stated: float) -> float:
    """What the answers give; ``stated`` where their kind alone knows."""
    if measure != ACCURACY:
        return measure_answers(measure, answers.labels, answers.predictions) if measure in ANSWERS else stated
    pairs = zip(answers.labels, answers.predictions, strict=True)  # without waiting for scikit-learn
    return sum(label == prediction for label, prediction in pairs) / len(answers.labels)
