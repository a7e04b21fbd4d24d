"""The scenario of WordNet's noun glosses: what it draws and what it refuses."""

import importlib
import os
from collections import Counter
from typing import Any

import pytest

from clbench import plugins, sources
from clbench.errors import InputError, RunError
from clbench.scenario import Task
from clbench.tasks.checks import check_tasks
from clbench.tasks.splits import words_only

# Imported by name, as the file lies outside the package where a type checker would look for it.
wordnet_class: Any = importlib.import_module("clbench.scenarios.wordnet_class")


@pytest.fixture(scope="module")
def package() -> Any:
    """The scenario's module; skips where its data are neither cached nor to be fetched, which on CI is a failure."""
    try:
        sources.fetch("wordnet")
    except RunError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    return wordnet_class


@pytest.fixture(scope="module")
def tasks(package: Any) -> list[Task]:
    made: list[Task] = package.WordNetClasses().tasks()
    return made


@pytest.fixture(scope="module")
def glosses(package: Any) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = package.noun_glosses()
    return rows


@pytest.fixture
def scenario(package: Any, glosses: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The scenario's class, which gets the glosses that were read before."""
    monkeypatch.setattr(package, "noun_glosses", lambda: glosses)
    return package.WordNetClasses


def test_the_package_holds_what_was_counted_in_it(glosses: list[tuple[str, str]]) -> None:
    counts = Counter(label for _, label in glosses)
    assert len(glosses) == 82192
    assert (counts["artifact"], counts["person"], counts["time"], counts["process"]) == (11605, 11073, 1030, 770)
    # The six files left out by number: Tops, feeling, motive, phenomenon, relation and shape.
    rest = {label: count for label, count in counts.items() if label not in wordnet_class.LABELS.values()}
    assert rest == {"03": 51, "12": 430, "16": 42, "19": 642, "24": 437, "25": 344}
    assert max(rest.values()) < min(counts[label] for label in wordnet_class.LABELS.values())


def test_a_gloss_is_a_definition_without_examples(glosses: list[tuple[str, str]]) -> None:
    assert glosses[0] == (
        "that which is perceived or known or inferred to have its own distinct existence (living or nonliving)",
        "03",
    )
    assert ("a tangible and visible entity; an entity that can cast a shadow", "03") in glosses
    assert ("a native of ancient Troy", "person") in glosses
    assert not [text for text, _ in glosses if not text or text != text.strip() or '; "' in text]


def test_ten_balanced_tasks_of_two_new_classes(tasks: list[Task]) -> None:
    check_tasks(tasks, "class")
    assert len(tasks) == 10
    labels = [label for task in tasks for label in task.labels]
    assert sorted(labels) == sorted(wordnet_class.LABELS.values())
    for task in tasks:
        assert task.name == "/".join(task.labels)
        for data, size in zip(task.splits.values(), (200, 50, 100), strict=True):
            assert Counter(data["label"]) == {0: size, 1: size}


def test_every_text_is_a_gloss_of_its_label_and_of_no_other(tasks: list[Task], glosses: list[tuple[str, str]]) -> None:
    files: dict[str, set[str]] = {}
    for text, label in glosses:
        files.setdefault(words_only(text), set()).add(label)
    rows = [
        (text, task, label)
        for task in tasks
        for data in task.splits.values()
        for text, label in zip(data["text"], data["label"], strict=True)
    ]
    assert len(rows) == 20 * 350
    assert all(files[words_only(text)] == {task.labels[label]} for text, task, label in rows)
    # No text twice: neither in two splits nor in two tasks.
    assert len({words_only(text) for text, _, _ in rows}) == len(rows)


def test_the_seed_decides_order_and_texts(scenario: Any, tasks: list[Task]) -> None:
    again, other = (scenario(seed=seed).tasks() for seed in (0, 1))
    assert [task.train["text"][:] for task in again] == [task.train["text"][:] for task in tasks]
    assert [task.name for task in other] != [task.name for task in tasks]
    by_label = {label: task for task in other for label in task.labels}
    texts = [set(task.train["text"]) & set(by_label[task.labels[0]].train["text"]) for task in tasks]
    assert any(len(shared) < 50 for shared in texts)


def test_the_setting_changes_no_text(scenario: Any, tasks: list[Task]) -> None:
    other = scenario(setting="task").tasks()
    assert [task.test["text"][:] for task in other] == [task.test["text"][:] for task in tasks]


def test_the_smallest_class_gives_all_its_glosses(scenario: Any) -> None:
    made = scenario(train=600, dev=70, test=100).tasks()
    for task in made:
        assert [len(data) for data in task.splits.values()] == [1200, 140, 200]


def test_a_gloss_in_two_files_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = list(wordnet_class.LABELS.values())
    rows = [(f"{label} {number}", label) for label in labels for number in range(4)]
    rows += [("in two", "act"), ("In two!", "animal"), ("and outside", "food"), ("and outside", "03")]
    monkeypatch.setattr(wordnet_class, "noun_glosses", lambda: rows)
    made = wordnet_class.WordNetClasses(train=2, dev=1, test=1).tasks()
    texts = [text for task in made for data in task.splits.values() for text in data["text"]]
    assert sorted(texts) == sorted(f"{label} {number}" for label in labels for number in range(4))


def test_it_is_described_without_importing_it() -> None:
    description = plugins.describe("scenario", "wordnet_class")
    assert 20 < len(description.summary) <= 110
    assert "Rights:" in description.doc
    assert description.attributes["settings"] == ("class", "task")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 0}, "train=0 is not allowed; allowed: 1 or more"),
        ({"dev": -1}, "dev=-1 is not allowed; allowed: 1 or more"),
        ({"train": 700}, "train=700, dev=50 and test=100 ask for 850 glosses a class; allowed: together at most 770"),
        ({"setting": "domain"}, "setting 'domain' cannot be had here: its tasks have different labels"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_read(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        wordnet_class.WordNetClasses(**arguments)
    assert message in str(caught.value)
