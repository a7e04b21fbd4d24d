"""The labels of a whole scenario as columns of one output layer; the setting is a mask over it."""

from __future__ import annotations

from collections.abc import Sequence

from clbench.data import LabelSpace
from clbench.scenario import Task


def label_space(tasks: Sequence[Task], setting: str) -> LabelSpace:
    """Lay the tasks' labels out: one column a label, or one a name where the tasks share their labels.

    They do in the domain setting and where they say so (``Task.shared_labels``).
    """
    if setting == "domain" or tasks[0].shared_labels:
        column = {name: number for number, name in enumerate(dict.fromkeys(n for task in tasks for n in task.labels))}
        return LabelSpace(setting, tuple(column), tuple(tuple(column[n] for n in task.labels) for task in tasks))
    names: list[str] = []
    spans = []
    for task in tasks:
        spans.append(tuple(range(len(names), len(names) + len(task.labels))))
        names += task.labels
    return LabelSpace(setting, tuple(names), tuple(spans))
