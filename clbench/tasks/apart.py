"""Test examples that another task trains on: counted, and left out there where the tasks share labels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from clbench.kinds import find_kind
from clbench.scenario import Task

Contents = Mapping[str, Sequence[Hashable]]
"""For each split what makes its examples the same as others, in the split's order."""
# More names would not be read.
NAMES_TOLD = 3


def keep_tests_apart(tasks: Sequence[Task], contents: Sequence[Contents], *, apart: bool) -> list[Task]:
    """The tasks, with notes on the test examples that stand in train or dev of another task.

    Where tasks share labels such an example teaches its own answer before its task is learned: it stays in test only.
    Otherwise nothing is left out, for its label there is another one.

    Args:
        tasks: none of which has an example in two of its own splits.
        contents: of each task.
        apart: leave test examples out of every train and dev set.
    """
    tests = {content for own in contents for content in own["test"]}
    learned: dict[Hashable, list[str]] = {}
    for task, own in zip(tasks, contents, strict=True):
        for content in {*own["train"], *own["dev"]} & tests:
            learned.setdefault(content, []).append(task.name)
    if not learned:
        return list(tasks)
    return [_apart(t, own, learned, leave_out=apart) for t, own in zip(tasks, contents, strict=True)]


def _apart(task: Task, contents: Contents, learned: Mapping[Hashable, list[str]], *, leave_out: bool) -> Task:
    notes, noun = list(task.notes), find_kind(task.kind).noun
    twice = [content for content in contents["test"] if content in learned]
    if twice:
        others = list(dict.fromkeys(name for content in twice for name in learned[content]))
        end = ", where they are left out" if leave_out else ""
        count = f"{len(twice)} of {len(contents['test'])} test {noun}s"
        notes.append(f"{count} stand in train or dev of {some_names(others)}{end}")
    if not leave_out:
        return replace(task, notes=tuple(notes))
    kept = {}
    for split in ("train", "dev"):
        rows = [row for row, content in enumerate(contents[split]) if content not in learned]
        data = getattr(task, split)
        kept[split] = data if len(rows) == len(data) else data.select(rows)
        if out := len(data) - len(rows):
            notes.append(f"{out} of {len(data)} {split} {noun}s left out: they are test {noun}s of other tasks")
    return replace(task, **kept, notes=tuple(notes))


def some_names(names: Sequence[str]) -> str:
    """The first few names, and how many there are beyond them."""
    told = ", ".join(repr(name) for name in names[:NAMES_TOLD])
    more = len(names) - NAMES_TOLD
    return f"{told} and {more} more" if more > 0 else told
