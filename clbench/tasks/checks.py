"""Checks what a scenario returns: tasks that a run could not use, or that would make its numbers wrong, are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from clbench.errors import InputError, unknown
from clbench.kinds import find_columns, find_kind, kind_name
from clbench.scenario import Task
from clbench.tasks.apart import Contents, keep_tests_apart, some_names


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
    if not isinstance(tasks, Sequence):
        raise InputError(f"tasks() gives a {type(tasks).__name__}; allowed: a list of tasks")
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
    if len({kind_name(task.kind) for task in tasks}) > 1:
        raise InputError("tasks must be of one kind, got " + ", ".join(f"{task.name}: {task.kind}" for task in tasks))
    if len({task.shared_labels for task in tasks}) > 1:
        own = next(task.name for task in tasks if not task.shared_labels)
        raise InputError(f"all tasks share their labels or none does, but {own!r} has no shared_labels and others have")
    for task in tasks:
        _check_labels(task)
        _check_columns(task)
        _check_label_column(task)
    kind = find_kind(tasks[0].kind)
    _check_optional(tasks, kind.optional)
    contents = [{split: kind.contents(data) for split, data in task.splits.items()} for task in tasks]
    for task, own_contents in zip(tasks, contents, strict=True):
        _check_leakage(task, own_contents)
    _check_setting(tasks, setting)
    _check_choice(tasks, setting)
    tasks = keep_tests_apart(tasks, contents, apart=setting == "domain" or tasks[0].shared_labels)
    for task in tasks:
        _check_label_column(task, " once the test examples of other tasks are left out")
    return [_with_notes(task, setting) for task in tasks]


def _check_labels(task: Task) -> None:
    kind = find_kind(task.kind, f"kind of task {task.name!r}")
    if task.measure and task.measure not in kind.measures:
        raise unknown(f"measure of task {task.name!r}", task.measure, kind.measures)
    if not task.labels and kind.over_labels:
        raise InputError(f"task {task.name!r} has no labels")
    kind.check_labels(task.labels, task.measure or kind.measures[0], f"task {task.name!r}")
    for label, count in Counter(task.labels).items():
        if count > 1 or not isinstance(label, str):
            raise InputError(f"task {task.name!r}: labels must be distinct names, got {label!r} {count} times")


def _check_columns(task: Task) -> None:
    for split, data in task.splits.items():
        if not len(data):
            raise InputError(f"task {task.name!r}: {split} is empty")
        where, kind = f"task {task.name!r}: {split}", find_kind(task.kind)
        find_columns(data, kind.columns, where)
        kind.check(data, task.labels, where)


def _check_optional(tasks: Sequence[Task], columns: Sequence[str]) -> None:
    """What a model reads beside the text, it reads of every example."""
    splits = {f"task {task.name!r}: {split}": data for task in tasks for split, data in task.splits.items()}
    for column in columns:
        having = [where for where, data in splits.items() if column in data.column_names]
        if having and len(having) < len(splits):
            lacking = next(where for where in splits if where not in having)
            raise InputError(
                f"{lacking} has no {column!r} and {having[0]} has; allowed: all splits of all tasks or none"
            )


def _check_label_column(task: Task, when: str = "") -> None:
    kind = find_kind(task.kind)
    for split, data in task.splits.items():
        if not len(data):
            raise InputError(f"task {task.name!r}: {split} has no examples{when}")
        if not kind.over_labels:
            continue
        present = kind.labels_in(data)
        for label in present:
            if type(label) is not int or not 0 <= label < len(task.labels):
                allowed = f"0..{len(task.labels) - 1}"
                raise InputError(f"task {task.name!r}: {split} has the label {label!r}, allowed: integers {allowed}")
        lacking = [name for index, name in enumerate(task.labels) if index not in present]
        if lacking and split != "dev" and kind.complete and not task.incomplete:
            raise InputError(
                f"task {task.name!r}: {split} has no example of the label {lacking[0]!r}{when}; leave the label out, "
                "or allow it with Task(..., incomplete=True)"
            )


def _with_notes(task: Task, setting: str) -> Task:
    """``task`` with notes on labels that a split lacks, where it may, and on a label without another."""
    notes = list(task.notes)
    kind = find_kind(task.kind)
    for split in ("train", "test") if kind.over_labels else ():
        present = kind.labels_in(getattr(task, split))
        lacking = [name for index, name in enumerate(task.labels) if index not in present]
        if lacking:
            notes.append(f"{split} has no example of {some_names(lacking)}")
    if kind.over_labels and setting == "task" and len(task.labels) == 1:
        notes.append(f"{task.labels[0]!r} is its only label: every answer is right in setting 'task'")
    return replace(task, notes=tuple(notes))


def _check_leakage(task: Task, contents: Contents) -> None:
    for one, other in (("train", "test"), ("dev", "test"), ("train", "dev")):
        if shared := len(set(contents[one]) & set(contents[other])):
            noun = find_kind(task.kind).noun
            raise InputError(f"task {task.name!r}: {shared} {noun}(s) occur both in {one} and in {other}")


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
        common = find_kind(tasks[0].kind).common_labels
        for task in tasks:
            for label in task.labels:
                if label in owner and label not in common:
                    raise InputError(
                        f"setting 'class' needs labels that no two tasks share; "
                        f"{label!r} is in {owner[label]!r} and in {task.name!r}"
                    )
                owner[label] = task.name


def _check_choice(tasks: Sequence[Task], setting: str) -> None:
    """There must be something to choose: one label alone is always right."""
    if not find_kind(tasks[0].kind).over_labels:
        return
    if setting == "task" and all(len(task.labels) == 1 for task in tasks):
        raise InputError(
            f"every task has one label, {tasks[0].name!r} only {tasks[0].labels[0]!r}, so that every answer would be "
            "right in setting 'task'; allowed: two labels or more in a task"
        )
    if setting == "domain" and len({label for task in tasks for label in task.labels}) == 1:
        raise InputError(f"all tasks have the one label {tasks[0].labels[0]!r}; allowed: two labels or more")
