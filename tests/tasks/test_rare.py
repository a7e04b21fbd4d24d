"""What is left out is counted; rare labels, and official splits that lack one, are as the user says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from clbench.errors import InputError
from clbench.scenario import Task
from clbench.tasks.checks import check_tasks
from clbench.tasks.csv_tasks import read_csv_tasks
from clbench.tasks.rows import task_from_rows, task_from_splits

COMMON = [(f"{label} {n}", label) for label in "ab" for n in range(8)]
OTHER = task_from_rows("other", [(f"other {text}", label) for text, label in COMMON], seed=0)
RARE = [("once", "x"), ("one of two", "y"), ("two of two", "y")]


def labels_of(task: Task) -> dict[str, dict[str, int]]:
    """How often each label stands in each split."""
    return {split: dict(Counter(task.labels[i] for i in data["label"])) for split, data in task.splits.items()}


def test_what_is_left_out_is_counted() -> None:
    doubtful = [("both", "a"), ("Both", "b"), ("BOTH", "b")]
    task = task_from_rows("mine", [*COMMON, *COMMON, ("A  0", "a"), *doubtful], seed=0)
    assert task.notes == ("36 rows, 20 left out: 17 repeated, 3 with two labels",)
    assert sum(map(len, task.splits.values())) == 16
    assert task_from_rows("mine", COMMON, seed=0).notes == ()


def test_rare_labels_are_refused_and_the_ways_out_named() -> None:
    with pytest.raises(InputError, match=r"label 'x' has 1 distinct text\(s\), needs at least 3; or say rare='allow'"):
        task_from_rows("mine", COMMON + RARE, seed=0)
    with pytest.raises(InputError, match="unknown value of rare 'dorp'; did you mean 'drop'"):
        task_from_rows("mine", COMMON, seed=0, rare="dorp")  # type: ignore[arg-type]


def test_rare_labels_are_dropped() -> None:
    task = task_from_rows("mine", COMMON + RARE, seed=0, rare="drop")
    assert task.labels == ("a", "b")
    assert task.notes == ("3 texts left out with their rare labels: 'x', 'y'",)
    assert [task.splits[s]["text"][:] for s in task.splits] == [
        task_from_rows("mine", COMMON, seed=0).splits[s]["text"][:] for s in task.splits
    ]


def test_rare_labels_are_merged() -> None:
    task = task_from_rows("mine", COMMON + RARE, seed=0, rare="merge")
    assert task.labels == ("a", "b", "other")
    assert task.notes == ("3 texts of rare labels merged into 'other': 'x', 'y'",)
    assert [counts["other"] for counts in labels_of(task).values()] == [1, 1, 1]
    with pytest.raises(InputError, match=r"label 'other' has 1 distinct text\(s\), needs at least 3"):
        task_from_rows("mine", COMMON + RARE[:1], seed=0, rare="merge")


def test_rare_labels_are_allowed_to_be_learned_and_then_tested() -> None:
    task = task_from_rows("mine", COMMON + RARE, seed=0, rare="allow")
    assert task.incomplete
    counts = labels_of(task)
    assert [counts[split].get("x", 0) for split in ("train", "dev", "test")] == [1, 0, 0]
    assert [counts[split].get("y", 0) for split in ("train", "dev", "test")] == [1, 0, 1]
    checked, _ = check_tasks([task, OTHER], "task")
    assert checked.notes == ("rare labels allowed: 'x', 'y'", "test has no example of 'x'")


TRAIN = [("a 0", "a"), ("a 1", "a"), ("b 0", "b"), ("b 1", "b"), ("untested", "x")]
TEST = [("a 2", "a"), ("b 2", "b"), ("A  1", "a"), ("unlearned", "y")]


def test_official_splits_keep_their_texts_and_test_wins() -> None:
    task = task_from_splits("mine", TRAIN[:4], TEST[:3], seed=0, dev=[("a 3", "a"), ("b 2", "b")])
    assert {split: sorted(data["text"]) for split, data in task.splits.items()} == {
        "train": ["a 0", "b 0", "b 1"],
        "dev": ["a 3"],
        "test": ["A  1", "a 2", "b 2"],
    }
    assert task.notes == ("9 rows, 2 left out: 2 repeated",)


def test_a_text_with_two_labels_is_left_out_of_every_official_split() -> None:
    task = task_from_splits("mine", [*TRAIN[:4], ("b 2", "a")], [*TEST[:3], ("b 5", "b")], seed=0, dev=[("b 3", "b")])
    assert sorted(task.test["text"]) == ["A  1", "a 2", "b 5"]
    assert sorted(task.test["text"]) == ["A  1", "a 2", "b 5"]
    assert task.notes == ("10 rows, 3 left out: 1 repeated, 2 with two labels",)


@pytest.mark.parametrize(
    ("rare", "labels", "train", "test"),
    [
        ("allow", ("a", "b", "x", "y"), {"a": 1, "b": 1, "x": 1}, {"a": 2, "b": 1, "y": 1}),
        ("drop", ("a", "b"), {"a": 1, "b": 1}, {"a": 2, "b": 1}),
        ("merge", ("a", "b", "other"), {"a": 1, "b": 1, "other": 1}, {"a": 2, "b": 1, "other": 1}),
    ],
)
def test_labels_that_an_official_split_lacks(
    rare: Any, labels: tuple[str, ...], train: dict[str, int], test: dict[str, int]
) -> None:
    more = [("a 4", "a")]  # a 1 stands in test too, so that two texts of a and two of b are left; dev takes one of each
    task = task_from_splits("mine", TRAIN + more, TEST, seed=0, rare=rare)
    assert task.labels == labels
    assert labels_of(task) == {"train": train, "dev": {"a": 1, "b": 1}, "test": test}
    check_tasks([task, OTHER], "task")


def test_labels_that_an_official_split_lacks_are_refused() -> None:
    with pytest.raises(InputError, match="task 'mine': test has no text of the label 'x'; or say rare='allow'"):
        task_from_splits("mine", TRAIN, TEST[:3], seed=0)
    with pytest.raises(InputError, match="task 'mine': train has no text of the label 'y'"):
        task_from_splits("mine", TRAIN[:4], TEST, seed=0)
    with pytest.raises(InputError, match="no text of the label 'other', merged or not"):
        task_from_splits("mine", TRAIN, TEST[:3], seed=0, rare="merge")
    with pytest.raises(InputError, match="no text is left for test"):
        task_from_splits("mine", TRAIN[:4], [], seed=0, rare="allow")


def test_a_column_may_name_the_split(tmp_path: Path) -> None:
    rows = [
        f"{task},{task} {label} {split} {n},{label},{split}"
        for task in ("fax", "phone")
        for label in "ab"
        for split, count in (("Train", 4), ("validation", 1), ("test", 2))
        for n in range(count)
    ]
    path = tmp_path / "tickets.csv"
    path.write_text("\n".join(["task,text,label,part", *rows]))
    fax, phone = read_csv_tasks(path, seed=0, split="part")
    assert labels_of(phone) == {"train": {"a": 4, "b": 4}, "dev": {"a": 1, "b": 1}, "test": {"a": 2, "b": 2}}
    assert all(" test " in text for text in fax.test["text"])
    path.write_text("\n".join(["task,text,label,part", *rows, "fax,late,a,tset"]))
    with pytest.raises(InputError, match=r"line 30: 'tset'; did you mean 'test'\?"):
        read_csv_tasks(path, seed=0, split="part")
