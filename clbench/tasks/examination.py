"""What a person's data are, whatever the seed and the setting: read, grouped, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from clbench.errors import InputError
from clbench.tasks.apart import some_names
from clbench.tasks.columns import Table
from clbench.tasks.data_rows import Row, make_rows, places_told, with_task
from clbench.tasks.data_sources import read_source, told_name
from clbench.tasks.grouping import Wanted, check_ways, cut_by_time, group, in_order
from clbench.tasks.problems import (
    Problem,
    drop_incomplete,
    drop_rare,
    drop_repeated,
    spelled_alike,
    suspected,
)
from clbench.tasks.roles import Roles, find_roles

Tasks = dict[str, list[Row]]


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


def examine(source: str, wanted: Wanted) -> Examined:
    """Read the data at ``source`` and find out what is wrong with them.

    Raises:
        InputError: they cannot be read, a column is not clear, or what is wanted of them does not fit together.
    """
    tables, unread = read_source(source)
    way = check_ways(source, tables, wanted)
    own_splits = any(table.split for table in tables)
    needed = ["text", "label", *{"column": ["task"], "time": ["time"]}.get(way, [])]
    roles = find_roles(tables, source, wanted.columns, needed, ["text_pair", *([] if own_splits else ["split"])])
    where = places_told(tables)
    rows = make_rows(tables, roles)
    fields = [field for field in ("text", "text_pair", "label", "task", "split", "time") if field in roles.columns]
    left, problems = drop_incomplete(rows, fields, where)
    problems += spelled_alike("task", dict.fromkeys(row.task for row in left))
    problems += spelled_alike("label", dict.fromkeys(row.label for row in left))
    scopes, told = _scopes(left, way, wanted, where)
    left, repeated = drop_repeated(scopes, where)
    tasks, rare = drop_rare(group(left), stops=wanted.on_problem != "drop")
    problems += [*repeated, *rare]
    if not tasks:
        raise InputError(f"{source}: no row is left; {'; '.join(problem.what for problem in problems)}")
    if wanted.on_problem == "stop":
        problems = [replace(problem, stops=True) for problem in problems]
    problems += suspected(left)
    settings, reason, refusals = propose(tasks, way, wanted)
    facts = (*_facts(source, tables, roles, len(rows), tasks, wanted), *unread, *told)
    return Examined(source, tables, roles, len(rows), tasks, tuple(problems), facts, settings, reason, refusals)


def _scopes(
    rows: Sequence[Row], way: str, wanted: Wanted, where: Callable[[Iterable[Row]], str]
) -> tuple[list[list[Row]], list[str]]:
    """The rows within each of which a text stands once, task by task, and lines on how they were chosen.

    Where labels are dealt out to tasks that is all rows: a text of two labels would be right for one task only.
    """
    if way == "label":
        labels = sorted({row.label for row in rows})
        chosen = in_order(labels, wanted.order, "label") if wanted.order else labels
        told = [f"label {label!r} is left out: order does not name it" for label in labels if label not in chosen]
        return [with_task([row for row in rows if row.label in chosen], "")], told
    if way == "time":
        assert wanted.tasks is not None
        cut, told = cut_by_time(rows, wanted.tasks, where)
        return list(cut.values()), told
    grouped = group(rows)
    if not wanted.order:
        return list(grouped.values()), []
    chosen = in_order(list(grouped), wanted.order, "task")
    told = [f"task {name!r} is left out: order does not name it" for name in grouped if name not in chosen]
    return [grouped[name] for name in chosen], told


def propose(tasks: Tasks, way: str, wanted: Wanted) -> tuple[tuple[str, ...], str, dict[str, str]]:
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
    source: str, tables: Sequence[Table], roles: Roles, rows: int, tasks: Tasks, wanted: Wanted
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
    lacking = [name for name, own in tasks.items() if {row.split for row in own} in ({"train"}, {"train", "test"})]
    if lacking:
        of = "" if len(lacking) == len(tasks) else f" of {some_names(lacking)}"
        yield f"there is no dev split{of}: {wanted.dev:.0%} of train are drawn for it"
