"""The checks on a scenario's tasks, and a user's own scenario that reads a CSV."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest

from clbench import plugins
from clbench.errors import InputError
from clbench.scenario import Scenario, Task
from clbench.tasks.checks import check_tasks
from clbench.tasks.csv_tasks import read_csv_tasks
from clbench.tasks.rows import image_dataset, task_from_rows, text_dataset

LABELS = ("no", "yes")


def make_task(name: str, labels: tuple[str, ...] = LABELS) -> Task:
    splits = {
        split: text_dataset([(f"{name} {split} {label}", label) for label in labels], labels)
        for split in ("train", "dev", "test")
    }
    return Task(name, "text", labels, splits["train"], splits["dev"], splits["test"])


def make_image_task(name: str, brightest: float = 1.0) -> Task:
    images = np.linspace(0, brightest, 6 * 4, dtype="float32").reshape(6, 1, 2, 2)
    parts = [image_dataset(images[start : start + 2], [0, 1]) for start in (0, 2, 4)]
    return Task(name, "image", LABELS, *parts)


ONE, TWO = make_task("one"), make_task("two")


@pytest.mark.parametrize("setting", ["task", "domain"])
def test_good_tasks_pass(setting: str) -> None:
    check_tasks([ONE, TWO], setting)
    check_tasks([make_image_task("one"), make_image_task("two")], setting)
    check_tasks([ONE, make_task("two", ("left", "right"))], "class")


def test_a_label_may_be_missing_in_dev_only() -> None:
    check_tasks([ONE, replace(TWO, dev=TWO.dev.select([0]))], "task")


BAD = {
    "needs at least two tasks, got 1": [ONE],
    "task 2 is a str, not a clbench.scenario.Task": [ONE, "two"],
    "task names must be unique and not empty, got 'one' 2 times": [ONE, ONE],
    "task names must be unique and not empty, got '' 1 times": [ONE, replace(TWO, name="")],
    "tasks must be of one kind, got one: text, two: image": [ONE, make_image_task("two")],
    "unknown kind of task 'one' 'txt'; did you mean 'text'? allowed: generation, image, text, token": [
        replace(ONE, kind="txt"),
        replace(TWO, kind="txt"),
    ],
    "task 'two' has no labels": [ONE, replace(TWO, labels=())],
    "task 'two': labels must be distinct names, got 'no' 2 times": [ONE, replace(TWO, labels=("no", "no"))],
    "task 'two': dev is empty": [ONE, replace(TWO, dev=TWO.dev.select([]))],
    "task 'two': train has no column 'text', only body, label": [
        ONE,
        replace(TWO, train=TWO.train.rename_column("text", "body")),
    ],
    "task 'two': test has a text that is not a string": [
        ONE,
        replace(TWO, test=datasets.Dataset.from_dict({"text": ["a", None], "label": [0, 1]})),
    ],
    "task 'two': train has the label 2, allowed: integers 0..1": [
        ONE,
        replace(TWO, train=datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 2]})),
    ],
    "task 'two': train has the label 'no', allowed: integers 0..1": [
        ONE,
        replace(TWO, train=datasets.Dataset.from_dict({"text": ["a"], "label": ["no"]})),
    ],
    "task 'two': test has no example of the label 'yes'": [ONE, replace(TWO, test=TWO.test.select([0]))],
    "task 'two': train has no example of the label 'no'": [ONE, replace(TWO, train=TWO.train.select([1]))],
    "task 'two': 2 text(s) occur both in train and in test": [ONE, replace(TWO, test=TWO.train)],
    "task 'two': 1 text(s) occur both in dev and in test": [
        ONE,
        replace(TWO, dev=text_dataset([("TWO  test no", "no")], LABELS)),
    ],
    "task 'two': 2 text(s) occur both in train and in dev": [ONE, replace(TWO, dev=TWO.train)],
    "task 'two': 2 image(s) occur both in train and in test": [
        make_image_task("one"),
        replace(make_image_task("two"), test=make_image_task("two").train),
    ],
    "task 'two': train has images that are not floats of one size; allowed: channels, height, width": [
        make_image_task("one"),
        replace(make_image_task("two"), train=datasets.Dataset.from_dict({"image": [[0.5], [0.1]], "label": [0, 1]})),
    ],
    "task 'two': dev has pixels from 88.6957 to 166.304; allowed: 0 to 1": [
        make_image_task("one"),
        replace(make_image_task("two"), dev=make_image_task("two", 255).dev),
    ],
}


@pytest.mark.parametrize("message", BAD)
def test_bad_tasks_are_refused_in_one_line(message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_tasks(BAD[message], "task")  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_setting_decides_which_labels_tasks_may_share() -> None:
    other = make_task("two", ("left", "yes"))
    check_tasks([ONE, other], "task")
    with pytest.raises(InputError, match="'one' has no, yes, 'two' has left, yes"):
        check_tasks([ONE, other], "domain")
    with pytest.raises(InputError, match="'one' has no, yes, 'two' has yes, no"):
        check_tasks([ONE, make_task("two", ("yes", "no"))], "domain")
    with pytest.raises(InputError, match="'yes' is in 'one' and in 'two'"):
        check_tasks([ONE, other], "class")


class Picky(Scenario):
    settings = ("task", "class")
    refusals = {"domain": "its tasks have different labels"}


def test_a_setting_that_a_scenario_does_not_have_is_refused() -> None:
    assert Picky().setting == "task"
    assert Picky(setting="class").setting == "class"
    with pytest.raises(InputError, match="'domain' cannot be had here: its tasks have different labels; allowed: task"):
        Picky(setting="domain")
    with pytest.raises(InputError, match="unknown setting 'clas'; did you mean 'class'"):
        Picky(setting="clas")


def test_task_from_rows_splits_each_label_alike_without_duplicates() -> None:
    rows = [(f"text {number}", "a" if number < 40 else "b") for number in range(60)]
    doubtful = [("TEXT  0", "a"), ("both", "a"), ("Both", "b")]
    task = task_from_rows("mine", rows + doubtful, seed=0, dev=0.1, test=0.25)
    assert task.labels == ("a", "b")
    counts = {split: Counter(data["label"]) for split, data in task.splits.items()}
    assert counts == {"train": {0: 26, 1: 13}, "dev": {0: 4, 1: 2}, "test": {0: 10, 1: 5}}
    assert {text for data in task.splits.values() for text in data["text"]} == {text for text, _ in rows}
    meaning = dict(rows)
    assert all(meaning[row["text"]] == task.labels[row["label"]] for row in task.test)


def test_task_from_rows_depends_on_its_seed_only() -> None:
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(60)]
    again = [task_from_rows("mine", rows, seed=seed).test["text"][:] for seed in (0, 0, 1)]
    assert again[0] == again[1]
    assert again[0] != again[2]


def test_task_from_rows_refuses_what_it_cannot_split() -> None:
    with pytest.raises(InputError, match=r"task 'mine': label 'a' has 2 distinct text\(s\), needs at least 3"):
        task_from_rows("mine", [("x", "a"), ("y", "a"), ("X", "a")], seed=0)
    with pytest.raises(InputError, match=r"shares dev=0.5 and test=0.5"):
        task_from_rows("mine", [], seed=0, dev=0.5, test=0.5)
    with pytest.raises(InputError, match="unknown label of task 'mine' 'c'"):
        task_from_rows("mine", [("x", "c")], seed=0, labels=("a", "b"))


OWN_SCENARIO = '''\
"""Support tickets, one task a product."""

from clbench import Scenario, Task
from clbench.tasks import read_csv_tasks


class Tickets(Scenario):
    settings = ("task", "domain")

    def __init__(self, *, seed: int = 0, setting: str = "task", path: str = "tickets.csv") -> None:
        super().__init__(seed=seed, setting=setting)
        self.path = path

    def tasks(self) -> list[Task]:
        return read_csv_tasks(self.path, seed=self.seed)
'''


def write_csv(path: Path) -> Path:
    lines = [
        f'{task},"{task} ticket, {n}",{"angry" if n % 3 else "calm"}' for task in ("phone", "fax") for n in range(30)
    ]
    path.write_text("\n".join(["task,text,label", *lines]), encoding="utf-8")
    return path


def test_a_scenario_of_ones_own_is_a_file_of_fifteen_lines(tmp_path: Path) -> None:
    assert len([line for line in OWN_SCENARIO.splitlines() if line]) <= 15
    file = tmp_path / "tickets.py"
    file.write_text(OWN_SCENARIO, encoding="utf-8")
    table = write_csv(tmp_path / "tickets.csv")
    scenario = plugins.build("scenario", str(file), {"path": str(table)}, seed=0, setting="domain")
    tasks = scenario.tasks()
    check_tasks(tasks, "domain")
    assert [task.name for task in tasks] == ["phone", "fax"]
    # 20 angry and 10 calm texts: 15 % for dev and 25 % for test, halves to the even number.
    assert Counter(tasks[0].test["label"]) == {0: 5, 1: 2}
    assert Counter(tasks[0].dev["label"]) == {0: 3, 1: 2}
    assert Counter(tasks[0].train["label"]) == {0: 12, 1: 6}
    assert all(text.startswith("phone ticket, ") for text in tasks[0].train["text"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"", "has no column 'task'; its columns: none"),
        (b"task,text,label\n", "has a header but no rows"),
        (b"task,text,sentiment\na,b,c\n", "has no column 'label'; its columns: task, text, sentiment"),
        (b"task,text,label\na,b,c\na,,c\n", "line 3: text is empty or blank; task, text, label must not be empty"),
        (b"task,text,label\na,b\n", "line 2: 2 cells, but the header has 3"),
        (b"task,text,label\na,\xff,c\n", "cannot read"),
    ],
)
def test_a_csv_that_cannot_serve_is_refused_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "tickets.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_csv_tasks(path, seed=0)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
