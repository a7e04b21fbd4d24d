"""What is wrong with the rows of a person's data: counted, left out, or a reason to stop."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Iterable, Sequence, Sized
from dataclasses import dataclass

from clbench.tasks.apart import some_names
from clbench.tasks.data_rows import RANK, Row
from clbench.tasks.rows import FEWEST_TEXTS
from clbench.tasks.splits import same_text, words_only
from clbench.text import same_content

NAMES_TOLD = 5


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with some rows.

    Attributes:
        what: a clause that begins with how many they are.
        stops: whether a run stops here; otherwise they are left out, where ``done`` says so.
        done: what becomes of them.
        droppable: whether they can be left out where a run stops.
    """

    what: str
    stops: bool = False
    done: str = "left out"
    droppable: bool = True

    def __str__(self) -> str:
        return f"{self.what}: {'a run stops here' if self.stops else self.done}"


Found = tuple[list[Row], list[Problem]]


def drop_incomplete(rows: Sequence[Row], fields: Iterable[str], where: Callable[[Iterable[Row]], str]) -> Found:
    """Rows whose cells are all there, and a problem for each field that is empty somewhere."""
    problems, left = [], list(rows)
    for field in fields:
        empty = [row for row in left if not getattr(row, field)]
        left = [row for row in left if getattr(row, field)]
        if empty:
            problems.append(Problem(f"{_count(empty, 'row')} without a {field} ({where(empty)})"))
    return left, problems


def drop_repeated(scopes: Iterable[Sequence[Row]], where: Callable[[Iterable[Row]], str]) -> Found:
    """The rows of each scope with every text once; a text with two labels not at all.

    Of a text in several splits test keeps it, else dev.
    """
    kept: list[Row] = []
    repeated: list[Row] = []
    leaking: list[Row] = []
    doubtful: list[Row] = []
    for scope in scopes:
        groups: dict[Hashable, list[Row]] = {}
        for row in scope:
            groups.setdefault(same_content(row.content), []).append(row)
        for own in groups.values():
            first = min(own, key=lambda row: RANK[row.split])
            if len({row.label for row in own}) > 1:
                doubtful += own
                continue
            kept.append(first)
            for row in own:
                if row is not first:
                    (repeated if row.split == first.split else leaking).append(row)
    problems = []
    if repeated:
        problems.append(Problem(f"{_count(repeated, 'row')} with the text and label of another ({where(repeated)})"))
    if leaking:
        what = f"{_count(leaking, 'text')} of train or dev also in dev or test ({where(leaking)})"
        problems.append(Problem(what, done="left out of train or dev"))
    if doubtful:
        problems.append(Problem(f"{_count(doubtful, 'row')} of texts with two labels ({where(doubtful)})"))
    order = {(row.table, row.place): number for number, row in enumerate(_flat(scopes))}
    return sorted(kept, key=lambda row: order[row.table, row.place]), problems


def drop_rare(tasks: dict[str, list[Row]], *, stops: bool) -> tuple[dict[str, list[Row]], list[Problem]]:
    """The tasks without the labels that have too few texts to stand in every split."""
    rare = {}
    official = any(row.split for row in _flat(tasks.values()))
    for name, rows in tasks.items():
        by_label: dict[str, list[Row]] = {}
        for row in rows:
            by_label.setdefault(row.label, []).append(row)
        for label, own in by_label.items():
            if official:
                lacking = [s for s in ("train", "test") if all(row.split != s for row in own)]
                if lacking:
                    rare[name, label] = f"{label!r}{_of(name)} (none in {' nor '.join(lacking)})"
            elif len(own) < FEWEST_TEXTS:
                rare[name, label] = f"{label!r}{_of(name)} ({len(own)})"
    if not rare:
        return tasks, []
    count = sum((row.task, row.label) in rare for row in _flat(tasks.values()))
    need = "without a text in train or in test" if official else f"with fewer than {FEWEST_TEXTS} texts"
    what = f"{_count(rare, 'label')} {need}, {_told(list(rare.values()))}"
    left = {name: [row for row in own if (name, row.label) not in rare] for name, own in tasks.items()}
    problem = Problem(what, stops, f"left out with {_number(count, 'row')}")
    return {name: own for name, own in left.items() if own}, [problem]


def drop_single(tasks: dict[str, list[Row]], *, stops: bool) -> tuple[dict[str, list[Row]], list[Problem]]:
    """The tasks without those that have one label, where every answer would be right."""
    single = [name for name, rows in tasks.items() if len({row.label for row in rows}) == 1]
    if not single:
        return tasks, []
    what = f"{_count(single, 'task')} of one label, where every answer is right in setting 'task': {some_names(single)}"
    rows = sum(len(tasks[name]) for name in single)
    problem = Problem(what, stops, f"left out with {_number(rows, 'row')}")
    return {name: own for name, own in tasks.items() if name not in single}, [problem]


def spelled_alike(what: str, names: Iterable[str]) -> list[Problem]:
    """A problem where names differ in case, blanks or the form of their characters only."""
    first: dict[str, str] = {}
    pairs = []
    for name in names:
        other = first.setdefault(same_text(unicodedata.normalize("NFKC", name)), name)
        if other != name:
            pairs.append(f"{other!r} and {name!r}")
    if not pairs:
        return []
    what = f"{_count(pairs, what)} spelled almost like another, {_told(pairs)}, which must be written alike"
    return [Problem(what, stops=True, droppable=False)]


def suspected(rows: Iterable[Row]) -> list[Problem]:
    """A problem for texts that differ from another in punctuation only: they may be one, in train and in test."""
    seen: set[tuple[str, ...]] = set()
    count = 0
    for row in rows:
        key = row.task, words_only(row.text), words_only(row.text_pair)
        count += key in seen
        seen.add(key)
    if not count:
        return []
    return [Problem(f"{_number(count, 'text')} like another but for punctuation, suspected to repeat it", done="kept")]


def _flat(groups: Iterable[Sequence[Row]]) -> list[Row]:
    return [row for group in groups for row in group]


def _of(task: str) -> str:
    return f" of {task!r}" if task else ""


def _count(items: Sized, noun: str) -> str:
    return _number(len(items), noun)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun if count == 1 else noun + 's'}"


def _told(names: Sequence[str]) -> str:
    more = len(names) - NAMES_TOLD
    return f"{', '.join(names[:NAMES_TOLD])}{f' and {more} more' if more > 0 else ''}"
