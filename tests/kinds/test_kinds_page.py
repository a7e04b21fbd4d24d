"""docs/kinds.md says of kinds and strategies what their classes say, and refuses with the lines that are printed."""

from __future__ import annotations

import re
from collections import defaultdict

import datasets
import numpy as np
import pytest

from clbench import Task, plugins
from clbench.errors import InputError
from clbench.kinds import available_kinds, find_kind
from clbench.tasks import answer_dataset, check_tasks, image_dataset, token_dataset
from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "kinds.md").read_text(encoding="utf-8")
COLUMNS = ("text", "token", "generation", "image")


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table after a heading, without its head."""
    table = re.search(r"(?:^\|.*\n)+", PAGE.partition(heading)[2], re.MULTILINE)
    assert table
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[0].splitlines()[2:]]


def code(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"


def test_the_table_of_kinds() -> None:
    told = {row[0].strip("` |"): row for row in rows("# Kinds of task")}
    assert sorted(told) == sorted(available_kinds())
    for name, row in told.items():
        kind = find_kind(name)
        assert row[1] == code(*kind.columns)
        assert row[3].startswith(f"`{kind.auto_class}`")
        assert row[4:6] == [code(*kind.measures), code(*[kind.beside] if kind.beside else [])]


def test_the_table_of_strategies() -> None:
    """Written anew where it fails: the message has the lines."""
    groups = defaultdict(list)
    for name in sorted(plugins.available("strategy")):
        if kinds := plugins.load("strategy", name).kinds:
            groups[tuple("✓" if kind in kinds else "–" for kind in COLUMNS)].append(name)
    expected = [f"| {code(*names)} | {' | '.join(marks)} |" for marks, names in sorted(groups.items(), reverse=True)]
    part = PAGE.partition("## Which strategy takes which kind")[2].partition("\n## ")[0]
    assert [line for line in part.splitlines() if line.startswith("| `")] == expected


def refused(kind: str, labels: tuple[str, ...], make: object) -> str:
    splits = [make(split) for split in ("train", "dev", "test")]  # type: ignore[operator]
    with pytest.raises(InputError) as caught:
        check_tasks([Task(name, kind, labels, *splits) for name in ("x", "y")], "task")
    return str(caught.value)


def tagged(split: str, tags: list[int]) -> datasets.Dataset:
    features = token_dataset([], ()).features
    return datasets.Dataset.from_dict({"tokens": [[split, "b"]], "tags": [tags]}, features=features)


def test_the_lines_that_bad_data_are_told() -> None:
    told = [row[1].strip("` |") for row in rows("## Lines that are refused")]
    grey = np.linspace(0, 255, 2 * 64).reshape(2, 1, 8, 8)
    assert told == [
        refused("token", ("O", "B-a"), lambda split: tagged(split, [0])),
        refused("token", ("O", "noun"), lambda split: tagged(split, [0, 1])),
        refused("generation", (), lambda split: answer_dataset([(split, " ")])),
        refused("image", ("a", "b"), lambda _: image_dataset(np.full((2, 4, 8, 8), 0.5), [0, 1])),
        refused("image", ("a", "b"), lambda _: image_dataset(grey, [0, 1])),
    ]
