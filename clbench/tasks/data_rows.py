"""The rows of a person's data, in an order that no layout of the same rows changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from clbench.errors import unknown
from clbench.tasks.columns import Table, column_texts
from clbench.tasks.csv_tasks import SPLITS
from clbench.tasks.roles import Roles
from clbench.text import TextOrPair

PLACES_TOLD = 5
RANK = {"test": 0, "dev": 1, "train": 2, "": 3}


class Row(NamedTuple):
    """A text, or a pair of texts, with its label, and where it stands."""

    text: str
    label: str
    task: str
    split: str
    time: str
    table: int
    place: int
    text_pair: str = ""

    @property
    def content(self) -> TextOrPair:
        """What a model reads."""
        return (self.text, self.text_pair) if self.text_pair else self.text


def make_rows(tables: Sequence[Table], roles: Roles) -> list[Row]:
    """The rows of all tables, train before dev before test, so that no layout of the same rows changes their order.

    Raises:
        InputError: a cell that is no single value, or an unknown word for a split.
    """
    rows = []
    for number, table in enumerate(tables):
        nothing = [""] * len(table.places)
        texts = {role: column_texts(table, column) for role, column in roles.columns.items()}
        pairs = texts.get("text_pair", nothing)
        splits = texts.get("split") or [table.split] * len(nothing)
        tasks = texts.get("task") or [table.task] * len(nothing)
        times = texts.get("time", nothing)
        cells = zip(texts["text"], texts["label"], tasks, splits, times, table.places, pairs, strict=True)
        for text, label, task, split, time, place, pair in cells:
            if split and split.casefold() not in SPLITS:
                raise unknown(f"split in {table.name}, {table.unit} {place}:", split, SPLITS)
            known = SPLITS[split.casefold()] if split else ""
            rows.append(Row(text, label, task, known, time, number, place, pair))
    return sorted(rows, key=lambda row: -RANK[row.split])


def places_told(tables: Sequence[Table]) -> Callable[[Iterable[Row]], str]:
    """A function that says where rows stand."""

    def told(rows: Iterable[Row]) -> str:
        rows = sorted(rows, key=lambda row: (row.table, row.place))
        unit = tables[rows[0].table].unit
        several = len({row.table for row in rows}) > 1 or len(tables) > 1
        names = [f"{tables[r.table].name} {r.place}" if several else str(r.place) for r in rows[:PLACES_TOLD]]
        more = len(rows) - PLACES_TOLD
        end = f" and {more} more" if more > 0 else ""
        return f"{unit if len(rows) == 1 else unit + 's'} {', '.join(names)}{end}"

    return told


def with_task(rows: Iterable[Row], task: str) -> list[Row]:
    """The rows, of that task."""
    return [row._replace(task=task) for row in rows]
