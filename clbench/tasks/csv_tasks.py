"""Tasks from a CSV file: a column that names the task, one with the text, one with its label."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clbench.errors import unknown
from clbench.scenario import Task
from clbench.tasks.rare import Rare, check_spelling
from clbench.tasks.rows import task_from_rows, task_from_splits
from clbench.tasks.tables import Row, read_table
from clbench.text import TextOrPair

# What the official splits are called.
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def read_csv_tasks(
    path: str | Path,
    seed: int,
    *,
    task: str = "task",
    text: str = "text",
    label: str = "label",
    split: str | None = None,
    text_pair: str | None = None,
    dev: float = 0.15,
    test: float = 0.25,
    rare: Rare = "refuse",
    shared_labels: bool = False,
) -> list[Task]:
    """Text tasks from a CSV file with a header, in the order in which the tasks first appear.

    What a strict reader would refuse names its line: see `clbench.tasks.tables.read_table`.

    Args:
        path: a UTF-8 file.
        seed: which texts go to which split; see `task_from_rows`, as for ``dev``, ``test`` and ``rare``.
        task, text, label: the names of the columns.
        split: the name of a column that says train, dev or test, where the splits are official; without any row for dev
            it is drawn from train. See `task_from_splits`.
        text_pair: the name of a column of texts that are read after those of ``text``, where there is one.
        dev, test: shares of the texts, 0..1.
        rare: what becomes of labels with too few texts: "refuse", "allow", "merge" or "drop".
        shared_labels: a label's name means the same in every task that has it; tasks may have only some of them.

    Raises:
        InputError: a file that cannot be read or is empty, a missing column, a row that goes wrong, names of labels or
            tasks that differ in case or blanks only, or what `task_from_rows` refuses.
    """
    official = [split] if split else []
    columns = [task, text, label, *official, *([text_pair] if text_pair else [])]
    rows = read_table(path, columns, names=[task, label, *official])
    _check_names(f"{path}: the tasks", rows, 0)
    _check_names(f"{path}: the labels", rows, 2)
    own: dict[str, dict[str, list[tuple[TextOrPair, str]]]] = {}
    for row in rows:
        name, content, answer, *rest = row.cells
        if split and rest[0].casefold() not in SPLITS:
            raise unknown(f"split in {path}, line {row.line}:", rest[0], SPLITS)
        of = own.setdefault(name, {"": [], "train": [], "dev": [], "test": []})
        of[SPLITS[rest[0].casefold()] if split else ""].append(((content, rest[-1]) if text_pair else content, answer))
    same: dict[str, Any] = {"rare": rare, "shared_labels": shared_labels}
    if not split:
        return [task_from_rows(name, of[""], seed, dev=dev, test=test, **same) for name, of in own.items()]
    return [
        task_from_splits(name, of["train"], of["test"], seed, dev=of["dev"] or dev, **same) for name, of in own.items()
    ]


def _check_names(what: str, rows: Iterable[Row], column: int) -> None:
    """Refuse names in a column that a reader would call the same."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row.cells[column], row.line)
    check_spelling(what, list(first), list(first.values()))
