"""A person's own data as a scenario, without a line of Python: what they are, what is wrong with them, their tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import ClassVar, Literal

from clbench.errors import InputError
from clbench.scenario import Scenario, Task
from clbench.tasks.apart import some_names
from clbench.tasks.columns import Table
from clbench.tasks.data_rows import (
    Problem,
    Row,
    drop_incomplete,
    drop_rare,
    drop_repeated,
    drop_single,
    make_rows,
    places_told,
    spelled_alike,
    suspected,
)
from clbench.tasks.data_sources import read_source, told_name
from clbench.tasks.grouping import check_ways, cut_by_time, deal_labels, group, in_order
from clbench.tasks.roles import Roles, find_roles
from clbench.tasks.rows import task_from_rows, task_from_splits

Tasks = dict[str, list[Row]]
WAY_OUT = "mend the data, or say --scenario-arg on_problem=drop to leave them out"
# With on_problem=stop, which asks for clean data.
CLEAN = "mend the data, or leave on_problem=stop out"


@dataclass(frozen=True)
class Examined:
    """What the data are, whatever the seed and the setting.

    Attributes:
        source: file, folder or hub id.
        tables, roles: how they were read.
        rows: how many there were.
        tasks: the rows that are left; one nameless task where the seed deals labels out to tasks.
        problems: what is wrong with the data, and what becomes of it.
        facts: lines on what was read, guessed and left unread.
        settings: those that the data allow, the proposed one first.
        reason: why it is proposed.
        refusals: why another cannot be had.
    """

    source: str
    tables: Sequence[Table]
    roles: Roles
    rows: int
    tasks: Tasks
    problems: tuple[Problem, ...]
    facts: tuple[str, ...]
    settings: tuple[str, ...]
    reason: str
    refusals: Mapping[str, str]


class OwnData(Scenario):
    """Tasks from a table, a folder of tables or a data set.

    Args:
        task, text, label, text_pair, split, time: the columns; by default those whose name says it, "" for none.
            ``text_pair`` is read after the text, ``split`` says train, dev or test, ``time`` is for ``by=time``.
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
        self.columns = {"task": task, "text": text, "label": label, "text_pair": text_pair, "split": split, "time": time}
        self.by, self.labels_per_task, self.task_count = by, labels_per_task, tasks
        parts = order.split(",") if isinstance(order, str) else [order] if isinstance(order, int) else order
        self.order = [name for name in (str(part).strip() for part in parts) if name]
        self.dev, self.test, self.on_problem = dev, test, on_problem

    @property
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
        if stopping := [problem.what for problem in self.problems if problem.stops]:
            raise InputError(f"{source}: {'; '.join(stopping)}; {CLEAN if self.on_problem == 'stop' else WAY_OUT}")
        if len(tasks) < 2:
            names = some_names(list(tasks)) or "none"
            raise InputError(f"{source} gives {len(tasks)} task(s), {names}; a scenario needs two or more")
        return [self._task(name, rows) for name, rows in tasks.items()]

    def _dealt(self) -> tuple[Tasks, list[Problem]]:
        tasks = self.examined.tasks
        if self.by == "label":
            assert self.labels_per_task is not None
            rows = [row for own in tasks.values() for row in own]
            tasks = deal_labels(rows, self.labels_per_task, self.order, self.seed)
        if self.setting != "task":
            return tasks, []
        return drop_single(tasks, stops=self.on_problem != "drop")

    def _task(self, name: str, rows: Sequence[Row]) -> Task:
        shared = self.setting == "domain"
        pairs = {split: [(row.text, row.label) for row in rows if row.split == split] for split in _SPLITS}
        if pairs[""]:
            return task_from_rows(name, pairs[""], self.seed, dev=self.dev, test=self.test, shared_labels=shared)
        dev = pairs["dev"] or self.dev
        return task_from_splits(name, pairs["train"], pairs["test"], self.seed, dev=dev, shared_labels=shared)


_SPLITS = ("train", "dev", "test", "")


def data_scenario(source: str, wanted: OwnData) -> type[OwnData]:
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


def examine(source: str, wanted: OwnData) -> Examined:
    """Read the data at ``source`` and find out what is wrong with them.

    Raises:
        InputError: they cannot be read, a column is not clear, or what is wanted of them does not fit together.
    """
    tables, unread = read_source(source)
    given = wanted.columns
    way = check_ways(
        source,
        tables,
        **{role: given[role] for role in ("task", "time", "split")},
        by=wanted.by,
        labels_per_task=wanted.labels_per_task,
        tasks=wanted.task_count,
    )
    if way == "time" and wanted.order:
        raise InputError("order and by=time both say what comes first; leave order out")
    own_splits = any(table.split for table in tables)
    needed = ["text", "label", *{"column": ["task"], "time": ["time"]}.get(way, [])]
    roles = find_roles(tables, source, given, needed, ["text_pair", *([] if own_splits else ["split"])])
    where = places_told(tables)
    rows = make_rows(tables, roles)
    fields = [field for field in ("text", "label", "task", "split", "time") if field in roles.columns]
    left, problems = drop_incomplete(rows, fields, where)
    problems += spelled_alike("task", dict.fromkeys(row.task for row in left))
    problems += spelled_alike("label", dict.fromkeys(row.label for row in left))
    told: list[str] = []
    if way == "label":
        scopes: list[Sequence[Row]] = [[row._replace(task="") for row in left]]
    elif way == "time":
        assert wanted.task_count is not None
        cut, told = cut_by_time(left, wanted.task_count, where)
        scopes = list(cut.values())
    else:
        grouped = group(left)
        if wanted.order:
            left_out = [f"task {name!r} is left out: order does not name it" for name in grouped if name not in wanted.order]
            grouped = {name: grouped[name] for name in in_order(list(grouped), wanted.order, "task")}
            told += left_out
        scopes = list(grouped.values())
    left, repeated = drop_repeated(scopes, where)
    tasks, rare = drop_rare(group(left), stops=wanted.on_problem != "drop")
    problems += [*repeated, *rare]
    if wanted.on_problem == "stop":
        problems = [replace(problem, stops=True) for problem in problems]
    problems += suspected(left)
    settings, reason, refusals = propose(tasks, way, wanted)
    facts = (*_facts(source, tables, roles, len(rows), tasks, wanted), *unread, *told)
    return Examined(
        source, tables, roles, len(rows), tasks, tuple(problems), facts, settings, reason, refusals
    )


def propose(tasks: Tasks, way: str, wanted: OwnData) -> tuple[tuple[str, ...], str, dict[str, str]]:
    """The settings that the tasks allow, the best first, the reason for it, and why others cannot be had."""
    if way == "label":
        number = wanted.labels_per_task
        refusals = {"domain": "no two tasks share a label"}
        if number == 1:
            refusals["task"] = "every task has one label, so that every answer would be right"
        return tuple(s for s in ("class", "task") if s not in refusals), "each task brings new labels", refusals
    labels = {name: {row.label for row in rows} for name, rows in tasks.items()}
    overlaps = [(a, b, sorted(labels[a] & labels[b])) for a, b in combinations(labels, 2)]
    shared = [(a, b, names[0]) for a, b, names in overlaps if names]
    if not shared:
        reason = "no two tasks share a label; class where a text's task is not known when it is answered"
        return ("task", "class"), reason, {"domain": "no two tasks share a label"}
    a, b, name = shared[0]
    refusal = (
        f"{name!r} is a label of {a!r} and of {b!r}; rename one where they mean different things, or take task, where "
        "they stay apart, or domain, where they are one"
    )
    if way == "time" or len({frozenset(own) for own in labels.values()}) == 1:
        reason = "all tasks have the same labels; task where a text's task is known when it is answered"
        if way == "time":
            reason = "the same labels at other times"
        return ("domain", "task"), reason, {"class": refusal}
    reason = f"tasks share some of their labels, such as {name!r}, which stay apart; domain where they mean the same"
    return ("task", "domain"), reason, {"class": refusal}


def _facts(
    source: str, tables: Sequence[Table], roles: Roles, rows: int, tasks: Tasks, wanted: OwnData
) -> Iterable[str]:
    """Lines on what was read and what had to be guessed."""
    many = f" in {len(tables)} tables" if len(tables) > 1 else ""
    yield f"{told_name(source)}: {rows} rows{many} ({', '.join(dict.fromkeys(table.facts for table in tables))})"
    for table in tables:
        for guess in table.guesses:
            yield f"guessed of {table.name}: {guess}"
    unused = [column for column in tables[0].columns if column not in roles.columns.values()]
    yield f"columns: {roles}{f'; not used: {some_names(unused)}' if unused else ''}"
    if any(table.task for table in tables) and "task" not in roles.columns and not wanted.by:
        yield "a task is a file, called as the file is"
    splits = {row.split for own in tasks.values() for row in own}
    if "train" in splits and "dev" not in splits:
        yield f"there is no dev split: {wanted.dev:.0%} of train are drawn for it"
