"""Tasks from rows, images or a CSV file: what a scenario of your own builds its tasks with."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clbench.errors import InputError, unknown
from clbench.scenario import Task
from clbench.tasks import splits

if TYPE_CHECKING:
    import datasets
    import numpy as np


def text_dataset(rows: Sequence[tuple[str, str]], labels: Sequence[str]) -> datasets.Dataset:
    """A split with the columns ``text`` and ``label`` from pairs (text, label name)."""
    import datasets

    index = {label: position for position, label in enumerate(labels)}
    columns = {"text": [text for text, _ in rows], "label": [index[label] for _, label in rows]}
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.Value("int64")})
    return datasets.Dataset.from_dict(columns, features=features)


def image_dataset(images: np.ndarray, labels: Sequence[int]) -> datasets.Dataset:
    """A split with the columns ``image`` and ``label`` from floats in 0..1: examples, channels, height, width."""
    import datasets

    image = datasets.Array3D(shape=images.shape[1:], dtype="float32")
    features = datasets.Features({"image": image, "label": datasets.Value("int64")})
    return datasets.Dataset.from_dict({"image": list(images), "label": list(labels)}, features=features)


def task_from_rows(
    name: str,
    rows: Iterable[tuple[str, str]],
    seed: int,
    *,
    dev: float = 0.15,
    test: float = 0.25,
    labels: Sequence[str] | None = None,
) -> Task:
    """A text task from pairs (text, label name), split by ``seed``, the same share of each label in every split.

    Texts that differ in case or white space only are one example; a text with two different labels is left out.

    Args:
        name: the task's name.
        rows: pairs (text, label name); a label needs at least three distinct texts.
        seed: which texts go to which split.
        dev: share of the texts for dev, 0..1.
        test: share of the texts for test, 0..1.
        labels: the label names in order; by default those that occur, sorted.

    Raises:
        InputError: shares that leave nothing to train on, or a label with fewer than three distinct texts.
    """
    if not (dev > 0 and test > 0 and dev + test < 1):
        raise InputError(f"shares dev={dev} and test={test} must be positive and leave something to train on")
    rows = splits.deduplicate(rows, splits.same_text)
    names = tuple(labels) if labels is not None else tuple(sorted({label for _, label in rows}))
    for _, label in rows:
        if label not in names:
            raise unknown(f"label of task {name!r}", label, names)
    available = splits.count_labels(rows, names)
    for label, count in available.items():
        if count < 3:
            raise InputError(f"task {name!r}: label {label!r} has {count} distinct text(s), needs at least 3")
    counts = splits.fractional_counts(available, dev, test)
    parts = splits.draw(rows, counts, random.Random(f"{seed}/{name}"))
    return Task(name, "text", names, *(text_dataset(part, names) for part in parts))


def read_csv_tasks(
    path: str | Path,
    seed: int,
    *,
    task: str = "task",
    text: str = "text",
    label: str = "label",
    dev: float = 0.15,
    test: float = 0.25,
) -> list[Task]:
    """Text tasks from a CSV file with a header, in the order in which the tasks first appear.

    Args:
        path: a UTF-8 file.
        seed: which texts go to which split; see `task_from_rows`, as for ``dev`` and ``test``.
        task, text, label: the names of the columns.
        dev, test: shares of the texts, 0..1.

    Raises:
        InputError: a file that cannot be read or is empty, a missing column, a row without a value.
    """
    rows: dict[str, list[tuple[str, str]]] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            for column in (task, text, label):
                if column not in header:
                    raise InputError(f"{path} has no column {column!r}; its columns: {', '.join(header) or 'none'}")
            for row in reader:
                if not (row[task] and row[text] and row[label]):
                    raise InputError(f"{path}, line {reader.line_num}: {task}, {text} and {label} must not be empty")
                rows.setdefault(row[task], []).append((row[text], row[label]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not rows:
        raise InputError(f"{path} has a header but no rows")
    return [task_from_rows(name, pairs, seed, dev=dev, test=test) for name, pairs in rows.items()]
