"""A person's own data as a scenario, without a line of Python: what they are, what is wrong with them, their tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from clbench.errors import InputError
from clbench.scenario import Scenario, Task
from clbench.tasks.apart import some_names
from clbench.tasks.data_rows import Row
from clbench.tasks.examination import Examined, Tasks, examine
from clbench.tasks.grouping import Wanted, deal_labels
from clbench.tasks.problems import Problem, drop_single
from clbench.tasks.rows import task_from_rows, task_from_splits

# Ways out where a run stops at problems; on_problem=stop asks for clean data.
DROP = ", or say --scenario-arg on_problem=drop to leave them out"
CLEAN = ", or leave on_problem=stop out"
SPLITS = ("train", "dev", "test", "")  # of rows; none where they are drawn


class OwnData(Scenario):
    """Tasks from a table, a folder of tables or a data set.

    Args:
        task, text, label, text_pair, split, time: the columns; by default those whose name says it, "" for none.
            ``text_pair`` is the second of two texts that are read together, ``split`` says train, dev or test, ``time``
            is for ``by=time``.
        by: what makes a task where no column does: "label" (``labels_per_task`` new ones a task), "time" (``tasks``
            of as many rows each, in the order of the column ``time``), or "file".
        labels_per_task: for ``by=label``.
        tasks: how many, for ``by=time``.
        order: the tasks by name, or for ``by=label`` the labels, with commas between; the others are left out.
        dev, test: shares of the texts where there are no official splits, 0..1.
        on_problem: "drop" leaves out what a run would stop at, "stop" stops at whatever would be left out.
    """

    settings: ClassVar[tuple[str, ...]] = ("task", "domain", "class")
    examined: ClassVar[Examined]

    def __init__(
        self,
        *,
        seed: int = 0,
        setting: str = "",
        task: str | None = None,
        text: str | None = None,
        label: str | None = None,
        text_pair: str | None = None,
        split: str | None = None,
        time: str | None = None,
        by: Literal["label", "time", "file"] | None = None,
        labels_per_task: int | None = None,
        tasks: int | None = None,
        order: str | int | list[str | int] | tuple[str | int, ...] = "",
        dev: float = 0.15,
        test: float = 0.25,
        on_problem: Literal["stop", "drop"] | None = None,
    ) -> None:
        super().__init__(seed=seed, setting=setting)
        columns = {"task": task, "text": text, "label": label, "text_pair": text_pair, "split": split, "time": time}
        parts = order.split(",") if isinstance(order, str) else [order] if isinstance(order, int) else order
        names = tuple(name for name in (str(part).strip() for part in parts) if name)
        self.wanted = Wanted(columns, by, labels_per_task, tasks, names, dev, on_problem)
        self.test = test

    def notes(self) -> tuple[str, ...]:
        """What was read and what is wrong with it."""
        return (*self.examined.facts, *map(str, self.problems))

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with the data in this setting, and what becomes of it."""
        return [*self.examined.problems, *self._dealt()[1]]

    def rows(self) -> Tasks:
        """The rows of each task, in the order of training."""
        return self._dealt()[0]

    def tasks(self) -> list[Task]:
        """The tasks, their texts split by the seed where the data have no splits of their own.

        Raises:
            InputError: the data have problems at which a run stops.
        """
        tasks, source = self.rows(), self.examined.source
        if stopping := [problem for problem in self.problems if problem.stops]:
            way_out = DROP if self.wanted.on_problem is None and any(p.droppable for p in stopping) else ""
            way_out = CLEAN if self.wanted.on_problem == "stop" else way_out
            raise InputError(f"{source}: {'; '.join(problem.what for problem in stopping)}; mend the data{way_out}")
        if len(tasks) < 2:
            names = some_names(list(tasks)) or "none"
            raise InputError(f"{source} gives {len(tasks)} task(s), {names}; a scenario needs two or more")
        return [self._task(name, rows) for name, rows in tasks.items()]

    def _dealt(self) -> tuple[Tasks, list[Problem]]:
        tasks = self.examined.tasks
        if self.wanted.by == "label":
            assert self.wanted.labels_per_task is not None
            rows = [row for own in tasks.values() for row in own]
            tasks = deal_labels(rows, self.wanted.labels_per_task, self.wanted.order, self.seed)
        if self.setting != "task":
            return tasks, []
        return drop_single(tasks, stops=self.wanted.on_problem != "drop")

    def _task(self, name: str, rows: Sequence[Row]) -> Task:
        shared = self.setting == "domain"
        own = {split: [(row.content, row.label) for row in rows if row.split == split] for split in SPLITS}
        if own[""]:
            return task_from_rows(name, own[""], self.seed, dev=self.wanted.dev, test=self.test, shared_labels=shared)
        dev = own["dev"] or self.wanted.dev
        return task_from_splits(name, own["train"], own["test"], self.seed, dev=dev, shared_labels=shared)


def data_scenario(source: str, wanted: Wanted) -> type[OwnData]:
    """The scenario that the data at ``source`` are; they are read once, here.

    Args:
        source: a file, a folder or a hub id.
        wanted: what a person says of them.

    Raises:
        InputError: they cannot be read as tasks.
    """
    examined = examine(source, wanted)
    attributes = {"settings": examined.settings, "refusals": dict(examined.refusals), "examined": examined}
    return type("OwnData", (OwnData,), attributes)
