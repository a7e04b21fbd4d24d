"""The labels of a whole scenario as columns of one output layer; the setting is a mask over it."""

from __future__ import annotations

from collections.abc import Sequence

from clbench.data import LabelSpace
from clbench.kinds import find_kind
from clbench.scenario import Task


def label_space(tasks: Sequence[Task], setting: str) -> LabelSpace:
    """Lay the tasks' labels out: one column a label, or one a name where the tasks share their labels.

    They do in the domain setting and where they say so (``Task.shared_labels``). Labels that mean the same in every
    task of a kind, as the tag "O" does, have one column where the task is not given.
    """
    if setting == "domain" or tasks[0].shared_labels:
        return _by_name(tasks, setting, {name for task in tasks for name in task.labels})
    common = set(find_kind(tasks[0].kind).common_labels) if setting == "class" else set()
    return _by_name(tasks, setting, common)


def _by_name(tasks: Sequence[Task], setting: str, shared: set[str]) -> LabelSpace:
    """Columns in the order of the tasks and their labels; the ``shared`` names have one column each."""
    names: list[str] = []
    first: dict[str, int] = {}
    columns = []
    for task in tasks:
        own = []
        for name in task.labels:
            known = first.get(name) if name in shared else None
            own.append(len(names) if known is None else known)
            if known is None:
                first.setdefault(name, len(names))
                names.append(name)
        columns.append(tuple(own))
    return LabelSpace(setting, tuple(names), tuple(columns))
