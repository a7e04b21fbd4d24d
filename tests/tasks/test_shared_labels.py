"""A label space that tasks share while each has only some of the labels: columns, candidates, what can be measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from clbench.data import LabelSpace
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.scenario import Task
from clbench.tasks.checks import check_tasks
from clbench.tasks.content import data_hash
from clbench.tasks.csv_tasks import read_csv_tasks
from clbench.tasks.labels import label_space
from clbench.tasks.rows import text_dataset
from clbench.toolkit.evaluator import measurable

# Products whose tickets are about billing, which means the same everywhere, and about something of their own.
LABELS = (("billing", "signal"), ("battery", "billing"), ("signal", "battery"), ("login", "billing"))
COLUMNS = ((0, 1), (2, 0), (1, 2), (3, 0))
NAMES = ("billing", "signal", "battery", "login")


def task(name: str, labels: tuple[str, ...], *, shared: bool = True) -> Task:
    parts = [text_dataset([(f"{name} {s} {label}", label) for label in labels], labels) for s in ("a", "b", "c")]
    return Task(name, "text", labels, parts[0], parts[1], parts[2], shared_labels=shared)


TASKS = [task(f"product {n}", labels) for n, labels in enumerate(LABELS)]


@pytest.mark.parametrize("setting", ["task", "domain"])
def test_a_name_has_one_column(setting: str) -> None:
    assert check_tasks(TASKS, setting) == TASKS
    space = label_space(TASKS, setting)
    assert (space.names, space.columns) == (NAMES, COLUMNS)
    assert space.shares_columns


def test_candidates_are_what_has_been_seen() -> None:
    domain = label_space(TASKS, "domain")
    # Before any training those of the first task; then of every task that training has reached.
    seen = [domain.candidates(None, tasks_seen) for tasks_seen in range(5)]
    assert seen == [(0, 1), (0, 1), (0, 1, 2), (0, 1, 2), (0, 1, 2, 3)]
    assert [label_space(TASKS, "task").candidates(n, 1) for n in range(4)] == [*COLUMNS]


def make_learner(setting: str, tasks_seen: int) -> Learner:
    learner = Learner(nn.Linear(1, 4), LabelSpace(setting, NAMES, COLUMNS))
    learner.tasks_seen = tasks_seen
    return learner


def test_a_task_is_measured_when_all_its_labels_have_been_seen() -> None:
    rows = [[measurable(make_learner("domain", seen), position) for position in range(4)] for seen in range(5)]
    # The third task has labels of the first two only: it can be answered before it is learned.
    assert rows == [[True, False, False, False]] * 2 + [[True, True, True, False]] * 2 + [[True] * 4]
    assert all(measurable(make_learner("task", 0), position) for position in range(4))


def test_losses_are_among_the_candidates() -> None:
    logits, examples = torch.tensor([[1.0, 2.0, 3.0, 4.0]] * 2), torch.tensor([0, 1])
    out = -torch.inf
    assert make_learner("domain", 2).mask(logits, examples).tolist() == [[1, 2, 3, out]] * 2
    assert make_learner("task", 2).mask(logits, examples).tolist() == [[1, 2, out, out], [1, out, 3, out]]
    local = make_learner("domain", 2)
    local.local_labels = True
    assert local.mask(logits, examples).tolist() == [[1, 2, out, out], [1, out, 3, out]]


def test_the_same_labels_in_every_task_are_the_domain_setting_as_it_was() -> None:
    same = [task(name, ("a", "b")) for name in ("one", "two")]
    plain = [replace(t, shared_labels=False) for t in same]
    assert label_space(same, "domain") == label_space(plain, "domain")
    assert not label_space(plain, "task").shares_columns


def test_only_who_says_so_shares_labels() -> None:
    plain = [replace(t, shared_labels=False) for t in TASKS]
    with pytest.raises(
        InputError, match="where a name means the same in every task that has it, say shared_labels=True"
    ):
        check_tasks(plain, "domain")
    assert len(label_space(plain, "task").names) == 8
    with pytest.raises(InputError, match="'product 1' has no shared_labels and others have"):
        check_tasks([TASKS[0], plain[1]], "task")
    with pytest.raises(InputError, match="setting 'class' needs labels that no two tasks share; 'billing' is in"):
        check_tasks(TASKS, "class")
    assert data_hash(TASKS[0]) != data_hash(plain[0])


def test_a_choice_of_one_label_is_no_choice() -> None:
    single = [task(name, (label,), shared=False) for name, label in (("one", "a"), ("two", "b"))]
    with pytest.raises(
        InputError, match="every task has one label, 'one' only 'a', so that every answer would be right"
    ):
        check_tasks(single, "task")
    check_tasks(single, "class")  # a new label a task
    check_tasks([replace(t, shared_labels=True) for t in single], "domain")
    with pytest.raises(InputError, match="all tasks have the one label 'a'"):
        check_tasks([task(name, ("a",), shared=False) for name in ("one", "two")], "domain")
    mixed = check_tasks([single[0], task("two", ("a", "b"), shared=False)], "task")
    assert mixed[0].notes == ("'a' is its only label: every answer is right in setting 'task'",)
    assert mixed[1].notes == ()


def test_the_reader_of_csv_files_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "tickets.csv"
    rows = [f"{n},{n} {label} {i},{label}" for n, labels in enumerate(LABELS) for label in labels for i in range(5)]
    path.write_text("\n".join(["task,text,label", *rows]))
    tasks = check_tasks(read_csv_tasks(path, seed=0, shared_labels=True), "domain")
    # Labels of a task are sorted by name.
    assert label_space(tasks, "domain").columns == ((0, 1), (2, 0), (2, 1), (0, 3))
