"""From rows to tasks: by a column, by file, by time, or so many labels a task; in the order that is asked for."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clbench.errors import InputError, unknown
from clbench.tasks.columns import Table
from clbench.tasks.data_rows import Row, with_task

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Wanted:
    """What a person says of the data; see `OwnData`."""

    columns: Mapping[str, str | None]
    by: str | None
    labels_per_task: int | None
    tasks: int | None
    order: tuple[str, ...]
    dev: float
    on_problem: str | None


def check_ways(source: str, tables: Sequence[Table], wanted: Wanted) -> str:
    """How the tasks are made: "column", "label", "time" or "file".

    Raises:
        InputError: arguments that do not fit together or the data.
    """
    by, task, split = wanted.by, wanted.columns["task"], wanted.columns["split"]
    labels_per_task, tasks = wanted.labels_per_task, wanted.tasks
    needs = {"labels_per_task": (labels_per_task, "label"), "tasks": (tasks, "time")}
    for name, (value, way) in {**needs, "time": (wanted.columns["time"], "time")}.items():
        if value is not None and by != way:
            raise InputError(f"{name}={value} is for by={way}; give --scenario-arg by={way}, or leave {name} out")
    if by == "label" and (labels_per_task is None or labels_per_task < 1):
        raise InputError(f"labels_per_task={labels_per_task} is not allowed; by=label needs a number of 1 or more")
    if by == "time" and (tasks is None or tasks < 2):
        raise InputError(f"tasks={tasks} is not allowed; by=time needs a number of 2 or more")
    if by and task:
        raise InputError(f"task={task} and by={by} both say what a task is; give one of them")
    if by == "time" and wanted.order:
        raise InputError("order and by=time both say what comes first; leave order out")
    if split and any(table.split for table in tables):
        raise InputError(f"split={split}, but the files of {source} are its splits; leave split out")
    if by == "file" and not any(table.task for table in tables):
        raise InputError(f"by=file needs a folder with one file a task; {source} has none")
    return by or ("file" if not task and any(table.task for table in tables) else "column")


def group(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each task, in the order in which the tasks first appear."""
    tasks: dict[str, list[Row]] = {}
    for row in rows:
        tasks.setdefault(row.task, []).append(row)
    return tasks


def cut_by_time(
    rows: Sequence[Row], count: int, where: Callable[[Iterable[Row]], str]
) -> tuple[dict[str, list[Row]], list[str]]:
    """``count`` tasks of as many rows each, the earliest first, and a line on the time of each.

    Raises:
        InputError: fewer rows than tasks, or a time that cannot be read or can be read in two ways.
    """
    if count > len(rows):
        raise InputError(f"tasks={count} asks for more tasks than there are rows, {len(rows)}")
    moments = _moments(rows, where)
    in_order = [rows[number] for number in sorted(range(len(rows)), key=lambda number: moments[number])]
    tasks, told = {}, []
    for number in range(count):
        part = in_order[number * len(rows) // count : (number + 1) * len(rows) // count]
        name = f"time {number + 1}"
        tasks[name] = with_task(part, name)
        told.append(f"{name}: {part[0].time} to {part[-1].time}")
    return tasks, told


def _moments(rows: Sequence[Row], where: Callable[[Iterable[Row]], str]) -> list[Any]:
    import pandas

    try:
        return [float(row.time) for row in rows]
    except ValueError:
        pass
    cells = pandas.Series([row.time for row in rows])
    found = pandas.to_datetime(cells, utc=True, format="ISO8601", errors="coerce")
    found = found.fillna(_read_loosely(cells[found.isna()]))
    if found.isna().any():
        row = rows[int(found.isna().to_numpy().argmax())]
        raise InputError(f"{where([row])}: the time {row.time!r} cannot be read; allowed: 2026-01-31, or a number")
    return list(found)


def _read_loosely(cells: pandas.Series[Any]) -> pandas.Series[Any]:
    import pandas

    month, day = (
        pandas.to_datetime(cells, utc=True, format="mixed", dayfirst=first, errors="coerce") for first in (False, True)
    )
    differing = (month != day) & month.notna() & day.notna()
    if differing.any():
        cell = cells[differing].iloc[0]
        raise InputError(f"times such as {cell!r} can be read in two ways; write them as 2026-01-31")
    return month


def deal_labels(rows: Sequence[Row], labels_per_task: int, order: Sequence[str], seed: int) -> dict[str, list[Row]]:
    """So many labels a task, in ``order`` or as the seed draws them; a task is called after its labels."""
    labels = sorted({row.label for row in rows})
    drawn = random.Random(f"{seed}/labels").sample(labels, len(labels))
    turn = [label for label in order if label in labels] if order else drawn
    parts = [turn[start : start + labels_per_task] for start in range(0, len(turn), labels_per_task)]
    task_of = {label: "/".join(part) for part in parts for label in part}
    tasks: dict[str, list[Row]] = {name: [] for name in task_of.values()}
    for row in rows:
        tasks[task_of[row.label]].append(row._replace(task=task_of[row.label]))
    return tasks


def in_order(names: Sequence[str], order: Sequence[str], what: str) -> list[str]:
    """Those of ``names`` that ``order`` has, in its order.

    Raises:
        InputError: it has an unknown one, or one twice.
    """
    for name in order:
        if name not in names:
            raise unknown(f"{what} in order:", name, names)
        if order.count(name) > 1:
            raise InputError(f"order names the {what} {name!r} twice; allowed: once each")
    return list(order)
