"""The labels of a whole scenario as columns of one output layer; the setting is a mask over it."""

from __future__ import annotations

from collections.abc import Sequence

from clbench.data import LabelSpace
from clbench.scenario import Task


def label_space(tasks: Sequence[Task], setting: str) -> LabelSpace:
    """Lay the tasks' labels out: one column a label, shared by all tasks in the domain setting."""
    if setting == "domain":
        columns = tuple(range(len(tasks[0].labels)))
        return LabelSpace(setting, tasks[0].labels, tuple(columns for _ in tasks))
    names: list[str] = []
    spans = []
    for task in tasks:
        spans.append(tuple(range(len(names), len(names) + len(task.labels))))
        names += task.labels
    return LabelSpace(setting, tuple(names), tuple(spans))
