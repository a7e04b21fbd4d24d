"""Test texts that another task trains on: counted, and kept out of every train and dev set where labels are shared."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from clbench.errors import InputError
from clbench.scenario import Task
from clbench.tasks.checks import check_tasks
from clbench.tasks.rows import image_dataset, text_dataset

LABELS = ("no", "yes")


def task(
    name: str, *, train: str = "0123", dev: str = "45", test: str = "678", labels: tuple[str, ...] = LABELS
) -> Task:
    """A task of the texts "``name`` digit"; other words stand for themselves; labels go round."""
    parts = []
    for words in (train, dev, test):
        texts = [word if len(word) > 1 else f"{name} {word}" for word in (words.split() if " " in words else words)]
        parts.append(text_dataset([(text, labels[n % len(labels)]) for n, text in enumerate(texts)], labels))
    return Task(name, "text", labels, *parts)


PHONE = task("phone", train="0 1 2 3 shared-a shared-b")
FAX = task("fax", dev="4 5 shared-c", test="6 7 SHARED-A shared-b")
# What phone tests stands in fax's dev.
THIRD = task("third", test="6 7 shared-c")


def test_in_the_domain_setting_test_texts_leave_every_train_and_dev_set() -> None:
    phone, fax, third = check_tasks([PHONE, FAX, THIRD], "domain")
    assert phone.train["text"][:] == ["phone 0", "phone 1", "phone 2", "phone 3"]
    assert phone.notes == ("2 of 6 train texts left out: they are test texts of other tasks",)
    assert fax.dev["text"][:] == ["fax 4", "fax 5"]
    assert fax.notes == (
        "2 of 4 test texts stand in train or dev of 'phone', where they are left out",
        "1 of 3 dev texts left out: they are test texts of other tasks",
    )
    assert third.notes == ("1 of 3 test texts stand in train or dev of 'fax', where they are left out",)
    assert [t.test["text"][:] for t in (phone, fax, third)] == [t.test["text"][:] for t in (PHONE, FAX, THIRD)]


def test_so_do_they_in_the_task_setting_where_labels_are_shared() -> None:
    tasks = [replace(t, shared_labels=True) for t in (PHONE, FAX)]
    assert len(check_tasks(tasks, "task")[0].train) == 4


def test_without_shared_labels_they_are_told_and_stay() -> None:
    phone, fax = check_tasks([PHONE, FAX], "task")
    assert phone.train is PHONE.train
    assert phone.notes == ()
    assert fax.notes == ("2 of 4 test texts stand in train or dev of 'phone'",)


def test_tasks_without_common_texts_stay_as_they_are() -> None:
    for setting in ("task", "domain"):
        one, two = task("one"), task("two")
        checked = check_tasks([one, two], setting)
        assert [t.train is own.train and t.notes == () for t, own in zip(checked, (one, two), strict=True)] == [
            True
        ] * 2


def test_what_would_leave_nothing_to_train_on_is_refused() -> None:
    only = task("only", train="shared-a shared-b")
    with pytest.raises(
        InputError, match="'only': train has no examples once the test examples of other tasks are left"
    ):
        check_tasks([only, FAX], "domain")
    half = task("half", train="own-0 shared-b own-1")
    with pytest.raises(InputError, match="'half': train has no example of the label 'yes' once the test examples of"):
        check_tasks([half, FAX], "domain")


def test_images_are_kept_apart_too() -> None:
    import numpy as np

    images = np.linspace(0, 1, 14 * 4, dtype="float32").reshape(14, 1, 2, 2)

    def of(name: str, *rows: list[int]) -> Task:
        return Task(name, "image", LABELS, *(image_dataset(images[r], [n % 2 for n in range(len(r))]) for r in rows))

    one, two = check_tasks([of("one", [0, 1, 12, 13], [2, 3], [4, 5]), of("two", [6, 7], [8, 9], [12, 13])], "domain")
    assert len(one.train) == 2
    assert two.notes == ("2 of 2 test images stand in train or dev of 'one', where they are left out",)


def test_the_check_costs_little_and_not_the_square_of_the_tasks() -> None:
    tasks = [task(f"t{n}", train=" ".join(f"t{n}-{i}" for i in range(500))) for n in range(60)]
    begun = time.perf_counter()
    check_tasks(tasks, "domain")
    assert time.perf_counter() - begun < 5  # 30,000 texts: about 0.2 s; each pair of 60 sets by itself takes far longer
