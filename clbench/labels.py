"""The labels of a whole scenario as columns of one output layer; the setting is a mask over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clbench.scenario import Task


@dataclass(frozen=True)
class LabelSpace:
    """Which output column stands for which label of which task.

    Attributes:
        setting: "task", "domain" or "class".
        names: a label name for each column.
        columns: for each task, the column of each of its labels.
    """

    setting: str
    names: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]

    def candidates(self, task_id: int | None, tasks_seen: int) -> tuple[int, ...]:
        """The columns among which an answer is looked for.

        Args:
            task_id: the example's task, None when the setting does not give it.
            tasks_seen: how many tasks training has reached; in the class setting their labels are the candidates.
        """
        if self.setting == "task":
            assert task_id is not None
            return self.columns[task_id]
        if self.setting == "domain":
            return self.columns[0]
        return tuple(sorted({column for columns in self.columns[:tasks_seen] for column in columns}))


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
