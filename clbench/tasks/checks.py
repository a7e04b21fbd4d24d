"""Checks what a scenario returns: tasks that a run could not use, or that would make its numbers wrong, are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from clbench.errors import InputError, unknown
from clbench.scenario import CONTENT_COLUMN, Task
from clbench.tasks.apart import Contents, keep_tests_apart, some_names
from clbench.tasks.splits import same_text

if TYPE_CHECKING:
    import datasets
    import numpy as np


def check_tasks(tasks: Sequence[Task], setting: str) -> list[Task]:
    """Refuse tasks that a run could not use or that would make its numbers wrong; an InputError names the first flaw.

    Args:
        tasks: what ``Scenario.tasks`` returned.
        setting: ``task``, ``domain`` (needs the same labels in every task, or ``shared_labels``) or ``class`` (needs
            labels that no two tasks share).

    Returns:
        The tasks as a run uses them: with notes on what a person should know of them; and where they share labels
        without the train and dev examples that are test examples of another task.
    """
    if len(tasks) < 2:
        raise InputError(f"a scenario needs at least two tasks, got {len(tasks)}")
    for position, task in enumerate(tasks, start=1):
        if not isinstance(task, Task):
            raise InputError(f"task {position} is a {type(task).__name__}, not a clbench.scenario.Task")
    for name, count in Counter(task.name for task in tasks).items():
        if not name or count > 1:
            raise InputError(f"task names must be unique and not empty, got {name!r} {count} times")
    for name in (name for task in tasks for name in (task.name, *task.labels)):
        if isinstance(name, str) and any("\ud800" <= character <= "\udfff" for character in name):
            raise InputError(f"the name {name!r} of a task or label is no Unicode text: it holds a lone surrogate")
    if len({task.kind for task in tasks}) > 1:
        raise InputError("tasks must be of one kind, got " + ", ".join(f"{task.name}: {task.kind}" for task in tasks))
    if len({task.shared_labels for task in tasks}) > 1:
        own = next(task.name for task in tasks if not task.shared_labels)
        raise InputError(f"all tasks share their labels or none does, but {own!r} has no shared_labels and others have")
    for task in tasks:
        _check_labels(task)
        _check_columns(task)
        _check_label_column(task)
    contents = [{split: _contents(data, task.kind) for split, data in task.splits.items()} for task in tasks]
    for task, own_contents in zip(tasks, contents, strict=True):
        _check_leakage(task, own_contents)
    _check_setting(tasks, setting)
    _check_choice(tasks, setting)
    tasks = keep_tests_apart(tasks, contents, apart=setting == "domain" or tasks[0].shared_labels)
    for task in tasks:
        _check_label_column(task, " once the test examples of other tasks are left out")
    return [_with_notes(task, setting) for task in tasks]


def _check_labels(task: Task) -> None:
    if task.kind not in CONTENT_COLUMN:
        raise unknown(f"kind of task {task.name!r}", task.kind, CONTENT_COLUMN)
    if not task.labels:
        raise InputError(f"task {task.name!r} has no labels")
    for label, count in Counter(task.labels).items():
        if count > 1 or not isinstance(label, str):
            raise InputError(f"task {task.name!r}: labels must be distinct names, got {label!r} {count} times")


def _check_columns(task: Task) -> None:
    for split, data in task.splits.items():
        if not len(data):
            raise InputError(f"task {task.name!r}: {split} is empty")
        for column in (CONTENT_COLUMN[task.kind], "label"):
            if column not in data.column_names:
                names = ", ".join(data.column_names)
                raise InputError(f"task {task.name!r}: {split} has no column {column!r}, only {names}")
        if task.kind == "text" and not all(isinstance(text, str) for text in data["text"][:]):
            raise InputError(f"task {task.name!r}: {split} has a text that is not a string")
        if task.kind == "image":
            _check_images(_images(data), f"task {task.name!r}: {split}")


def _check_images(images: np.ndarray, where: str) -> None:
    if images.ndim != 4 or images.dtype.kind != "f":
        raise InputError(f"{where} has images that are not floats of one size; allowed: channels, height, width")
    if not (images.min() >= 0 and images.max() <= 1):
        raise InputError(f"{where} has pixels from {images.min():g} to {images.max():g}; allowed: 0 to 1")


def _check_label_column(task: Task, when: str = "") -> None:
    for split, data in task.splits.items():
        present = set(data["label"][:])
        for label in present:
            if type(label) is not int or not 0 <= label < len(task.labels):
                allowed = f"0..{len(task.labels) - 1}"
                raise InputError(f"task {task.name!r}: {split} has the label {label!r}, allowed: integers {allowed}")
        lacking = [name for index, name in enumerate(task.labels) if index not in present]
        if len(lacking) == len(task.labels):
            raise InputError(f"task {task.name!r}: {split} has no examples{when}")
        if lacking and split != "dev" and not task.incomplete:
            raise InputError(
                f"task {task.name!r}: {split} has no example of the label {lacking[0]!r}{when}; leave the label out, "
                "or allow it with Task(..., incomplete=True)"
            )


def _with_notes(task: Task, setting: str) -> Task:
    """``task`` with notes on labels that a split lacks, where it may, and on a label without another."""
    notes = list(task.notes)
    for split in ("train", "test"):
        present = set(getattr(task, split)["label"][:])
        lacking = [name for index, name in enumerate(task.labels) if index not in present]
        if lacking:
            notes.append(f"{split} has no example of {some_names(lacking)}")
    if setting == "task" and len(task.labels) == 1:
        notes.append(f"{task.labels[0]!r} is its only label: every answer is right in setting 'task'")
    return replace(task, notes=tuple(notes))


def _check_leakage(task: Task, contents: Contents) -> None:
    for one, other in (("train", "test"), ("dev", "test"), ("train", "dev")):
        if shared := len(set(contents[one]) & set(contents[other])):
            raise InputError(f"task {task.name!r}: {shared} {task.kind}(s) occur both in {one} and in {other}")


def _contents(data: datasets.Dataset, kind: str) -> list[str] | list[bytes]:
    """What makes two examples the same, for each of them."""
    if kind == "text":
        return [same_text(text) for text in data["text"][:]]
    return [image.tobytes() for image in _images(data)]


def _images(data: datasets.Dataset) -> np.ndarray:
    """All images of a split: examples, channels, height, width."""
    images: np.ndarray = data.with_format("numpy")["image"][:]
    return images


def _check_setting(tasks: Sequence[Task], setting: str) -> None:
    if setting == "domain" and not tasks[0].shared_labels:
        for task in tasks[1:]:
            if task.labels != tasks[0].labels:
                raise InputError(
                    f"setting 'domain' needs the same labels in the same order in every task; {tasks[0].name!r} has "
                    f"{', '.join(tasks[0].labels)}, {task.name!r} has {', '.join(task.labels)}; where a name means the "
                    "same in every task that has it, say shared_labels=True"
                )
    if setting == "class":
        owner: dict[str, str] = {}
        for task in tasks:
            for label in task.labels:
                if label in owner:
                    raise InputError(
                        f"setting 'class' needs labels that no two tasks share; "
                        f"{label!r} is in {owner[label]!r} and in {task.name!r}"
                    )
                owner[label] = task.name


def _check_choice(tasks: Sequence[Task], setting: str) -> None:
    """There must be something to choose: one label alone is always right."""
    if setting == "task" and all(len(task.labels) == 1 for task in tasks):
        raise InputError(
            f"every task has one label, {tasks[0].name!r} only {tasks[0].labels[0]!r}, so that every answer would be "
            "right in setting 'task'; allowed: two labels or more in a task"
        )
    if setting == "domain" and len({label for task in tasks for label in task.labels}) == 1:
        raise InputError(f"all tasks have the one label {tasks[0].labels[0]!r}; allowed: two labels or more")
