"""The built-in scenarios: what they draw, how much of it, and what they refuse."""

import importlib
import os
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

import datasets
import pytest

from clbench import plugins, sources
from clbench.errors import InputError, RunError
from clbench.scenario import Scenario, Task
from clbench.sources import corpora
from clbench.tasks.checks import check_tasks
from clbench.tasks.splits import words_only

# Imported by name, as the files lie outside the package where a type checker would look for them.
toy: Any = importlib.import_module("clbench.scenarios.toy")
digits_seq: Any = importlib.import_module("clbench.scenarios.digits_seq")
text_seq: Any = importlib.import_module("clbench.scenarios.text_seq")


@cache
def unavailable(name: str) -> str:
    """Why the source cannot be had here; empty if it can."""
    try:
        sources.fetch(name)
    except RunError as error:
        return str(error)
    return ""


@pytest.fixture
def packages() -> None:
    """Skips a test that reads packages where they are neither cached nor to be fetched; on CI that is a failure."""
    for name in text_seq.TextSequence.sources:
        if reason := unavailable(name):
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)


def label_counts(data: datasets.Dataset) -> list[int]:
    counts = Counter(data["label"])
    return [counts[index] for index in sorted(counts)]


def texts(tasks: Iterable[Task]) -> list[list[str]]:
    return [data["text"][:] for task in tasks for data in task.splits.values()]


OFFLINE: dict[str, type[Scenario]] = {"toy": toy.Toy, "digits_seq": digits_seq.DigitsSequence}


@pytest.mark.parametrize(("name", "setting"), [(n, s) for n, c in OFFLINE.items() for s in c.settings])
def test_offline_scenarios_pass_the_checks_in_every_setting(name: str, setting: str) -> None:
    check_tasks(OFFLINE[name](setting=setting).tasks(), setting)


@pytest.mark.parametrize("name", ["toy", "digits_seq", "text_seq"])
def test_a_scenario_is_described_without_importing_it(name: str) -> None:
    description = plugins.describe("scenario", name)
    assert 20 < len(description.summary) <= 110
    assert "Rights:" in description.doc
    assert {parameter.name for parameter in description.parameters} >= {"seed", "setting"}


# text_seq


@pytest.fixture(scope="module")
def text_tasks() -> list[Task]:
    tasks: list[Task] = text_seq.TextSequence().tasks()
    return tasks


@pytest.mark.usefixtures("packages")
def test_the_packages_hold_what_was_counted_in_them() -> None:
    assert len(corpora.newsgroups("train")) == 11293
    assert len(corpora.newsgroups("test")) == 7528
    assert Counter(label for _, label in corpora.newsgroups("train"))["rec.sport.hockey"] == 600
    assert {label for _, label in corpora.newsgroups("test")} == set(text_seq.NEWSGROUPS)
    # The R8 topics used, as counted in the file: 5485 and 2189 rows less interest, ship and grain.
    train = Counter(label for _, label in corpora.reuters("train"))
    assert train == {"earn": 2840, "acq": 1596, "crude": 253, "trade": 251, "money-fx": 206}
    assert len(corpora.reuters("test")) == 2189 - 81 - 36 - 10
    assert Counter(label for _, label in corpora.movie()) == {"negative review": 5076, "positive review": 4996}
    assert Counter(label for _, label in corpora.airline()) == {
        "negative tweet": 9175,
        "neutral tweet": 3099,
        "positive tweet": 2363,
    }


@pytest.mark.usefixtures("packages")
def test_movie_review_ids_are_as_many_as_snippets() -> None:
    # Drawing snippets draws review ids only as long as no review gives two snippets.
    file = sources.read("vader-sentiment", "movieReviewSnippets_GroundTruth.txt").decode()
    ids = [line.split("\t")[0] for line in file.split("\r\n") if line]
    assert len(ids) == 10605
    assert len(set(ids)) == len(ids)


@pytest.mark.usefixtures("packages")
def test_tweets_are_cleaned() -> None:
    author = corpora.author()
    assert not [text for text, _ in author if "http" in text or text.startswith(("RT @", '"@')) or not text]
    # 3093 and 2629 tweets that are not marked as retweets, less those without text and those retweeted by hand.
    assert Counter(label for _, label in author) == {"Trump": 2583, "Clinton": 2624}
    assert not [text for text, _ in corpora.airline() if "&amp;" in text or "\r" in text]


@pytest.mark.usefixtures("packages")
def test_text_seq_is_balanced_and_has_the_sizes_asked_for(text_tasks: list[Task]) -> None:
    check_tasks(text_tasks, "class")
    assert [task.name for task in text_tasks] == ["newsgroups", "movie", "reuters", "airline", "author"]
    assert [len(task.labels) for task in text_tasks] == [20, 2, 5, 3, 2]
    for task in text_tasks:
        assert [len(data) for data in task.splits.values()] == [600, 100, 300]
        for data in task.splits.values():
            counts = label_counts(data)
            assert len(counts) == len(task.labels)
            assert max(counts) - min(counts) <= 1


@pytest.mark.usefixtures("packages")
def test_text_seq_splits_share_no_text_even_without_punctuation(text_tasks: list[Task]) -> None:
    for task in text_tasks:
        words = [words_only(text) for data in task.splits.values() for text in data["text"]]
        assert len(set(words)) == len(words) == 1000


@pytest.mark.usefixtures("packages")
def test_text_seq_keeps_official_splits_and_labels(text_tasks: list[Task]) -> None:
    for task, reader in ((text_tasks[0], corpora.newsgroups), (text_tasks[2], corpora.reuters)):
        for split, data in task.splits.items():
            official = set(reader("test" if split == "test" else "train"))
            assert {(row["text"], task.labels[row["label"]]) for row in data} <= official
    for task, rows in ((text_tasks[1], corpora.movie()), (text_tasks[3], corpora.airline())):
        assert {(row["text"], task.labels[row["label"]]) for row in task.train} <= set(rows)


@pytest.mark.usefixtures("packages")
def test_text_seq_depends_on_the_seed_and_not_on_the_other_tasks(text_tasks: list[Task]) -> None:
    movie, author = text_tasks[1], text_tasks[4]
    again = text_seq.TextSequence(order="author, movie").tasks()
    assert [task.name for task in again] == ["author", "movie"]
    assert texts(again) == texts([author, movie])
    other = text_seq.TextSequence(order=("author", "movie"), seed=1).tasks()
    assert all(one != two for one, two in zip(texts(again), texts(other), strict=True))


@pytest.mark.usefixtures("packages")
def test_text_seq_fills_up_where_a_label_has_too_few_texts() -> None:
    reuters = text_seq.TextSequence(order="reuters,movie", train=2000, dev=50).tasks()[0]
    train, dev = label_counts(reuters.train), label_counts(reuters.dev)
    assert (sum(train), sum(dev)) == (2000, 50)
    earn, acquisitions, crude, trade, money = (sum(pair) for pair in zip(train, dev, strict=True))
    assert abs(earn - acquisitions) <= 1
    # The other three give all their distinct texts that are neither in the test file nor under two topics.
    topics: dict[str, set[str]] = {}
    for text, topic in corpora.reuters("train"):
        topics.setdefault(text.strip(), set()).add(topic)
    held_out = {text.strip() for text, _ in corpora.reuters("test")}
    usable = Counter("/".join(found) for text, found in topics.items() if text not in held_out)
    assert (crude, trade, money) == (usable["crude"], usable["trade"], usable["money-fx"])
    assert money < earn


def test_text_seq_leaves_a_text_of_both_official_files_to_test(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(first: int, last: int) -> list[tuple[str, str]]:
        return [(f"{label} {number}", label) for label in ("a", "b") for number in range(first, last)]

    made = text_seq.Corpus(("a", "b"), lambda: rows(0, 10), lambda: rows(7, 12))
    monkeypatch.setattr(text_seq, "CORPORA", {"one": made, "two": made})
    for task in text_seq.TextSequence(order="one,two", train=10, dev=4, test=10).tasks():
        assert set(task.test["text"]) == {text for text, _ in rows(7, 12)}
        assert {*task.train["text"], *task.dev["text"]} == {text for text, _ in rows(0, 7)}


@pytest.mark.usefixtures("packages")
def test_text_seq_says_how_much_there_is() -> None:
    with pytest.raises(
        InputError, match=r"train=50000 and dev=100 ask for 50100 texts of 'newsgroups', which has 11\d\d\d"
    ):
        text_seq.TextSequence(train=50000).tasks()
    with pytest.raises(InputError, match="test=3000 ask for 3000 texts of 'reuters', which has 2"):
        text_seq.TextSequence(test=3000, order="reuters,movie").tasks()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"order": "newsgroups,moovie"},
            "unknown task in order 'moovie'; did you mean 'movie'? allowed: airline, author",
        ),
        ({"order": "movie"}, "order='movie' is not allowed; allowed: two or more different tasks"),
        ({"order": "movie,movie"}, "order='movie,movie' is not allowed"),
        ({"order": ""}, "unknown task in order ''"),
        ({"train": 19}, "train=19 is not allowed; allowed: 20 or more, the labels of 'newsgroups'"),
        ({"test": 0}, "test=0 is not allowed; allowed: 20 or more"),
        ({"dev": -1}, "dev=-1 is not allowed; allowed: 1 or more"),
        ({"setting": "domain"}, "setting 'domain' cannot be had here: its tasks have different labels"),
    ],
)
def test_text_seq_refuses_bad_arguments_before_it_reads_anything(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        text_seq.TextSequence(**arguments)
    assert message in str(caught.value)


# digits_seq


def test_digits_seq_has_every_image_once_with_its_digit() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    known = {
        (image / 16).astype("float32").tobytes(): label
        for image, label in zip(digits.images, digits.target, strict=True)
    }
    tasks = digits_seq.DigitsSequence().tasks()
    assert [task.labels for task in tasks] == [("0", "1"), ("2", "3"), ("4", "5"), ("6", "7"), ("8", "9")]
    seen = []
    for task in tasks:
        for data in task.splits.values():
            rows = data.with_format("numpy")
            assert rows["image"][:].shape[1:] == (1, 8, 8)
            for image, label in zip(rows["image"][:], rows["label"][:], strict=True):
                assert known[image.tobytes()] == int(task.labels[label])
                seen.append(image.tobytes())
    assert len(seen) == len(set(seen)) == 1797


def test_digits_seq_gives_each_split_its_share_and_depends_on_the_seed() -> None:
    first, again, other = (digits_seq.DigitsSequence(seed=seed).tasks() for seed in (0, 0, 1))
    for task in first:
        total = sum(len(data) for data in task.splits.values())
        assert len(task.dev) / total == pytest.approx(0.15, abs=0.005)
        assert len(task.test) / total == pytest.approx(0.25, abs=0.005)
        assert max(label_counts(task.test)) - min(label_counts(task.test)) <= 2
    assert first[0].test["image"][:] == again[0].test["image"][:]
    assert first[0].test["image"][:] != other[0].test["image"][:]


# toy


def test_toy_has_the_sizes_asked_for_and_is_balanced() -> None:
    for arguments in ({}, {"tasks": 5, "train": 30, "dev": 7, "test": 9}):
        tasks = toy.Toy(**arguments).tasks()
        assert len(tasks) == arguments.get("tasks", 3)
        sizes = [arguments.get("train", 120), arguments.get("dev", 40), arguments.get("test", 60)]
        for task in tasks:
            assert [len(data) for data in task.splits.values()] == sizes
            assert all(max(label_counts(data)) - min(label_counts(data)) <= 1 for data in task.splits.values())


def test_toy_sentences_are_made_of_one_place_and_known_words() -> None:
    for task in toy.Toy().tasks():
        for text in task.train["text"]:
            words = text.split()
            assert words.count(task.name) == 1
            assert sum(word in toy.KEYWORDS for word in words) == 5
            assert set(words) <= {task.name, *toy.KEYWORDS, *toy.FILLERS}


def meanings(task: Task) -> dict[str, int]:
    """For each keyword the label with which it occurs most."""
    seen: dict[str, Counter[int]] = {word: Counter() for word in toy.KEYWORDS}
    for row in task.train:
        for word in row["text"].split():
            if word in seen:
                seen[word][row["label"]] += 1
    return {word: counts.most_common(1)[0][0] for word, counts in seen.items()}


def test_toy_words_decide_the_label_within_a_task_and_mislead_across_tasks() -> None:
    # Counting words is right far above the chance of 1/3 on its own task, and near chance on another's.
    tasks = toy.Toy(train=600, test=300).tasks()

    def accuracy(meaning: dict[str, int], task: Task) -> float:
        votes = (Counter(meaning[w] for w in row["text"].split() if w in meaning) for row in task.test)
        guesses = [vote.most_common(1)[0][0] for vote in votes]
        right: int = sum(guess == label for guess, label in zip(guesses, task.test["label"], strict=True))
        return right / len(guesses)

    for number, task in enumerate(tasks):
        other = tasks[(number + 1) % len(tasks)]
        assert 0.85 < accuracy(meanings(task), task) < 1.0
        assert accuracy(meanings(task), other) < 0.6


def test_toy_labels_follow_the_setting() -> None:
    assert all(task.labels == toy.LABELS for task in toy.Toy(setting="domain").tasks())
    labels = [label for task in toy.Toy(setting="class", tasks=10).tasks() for label in task.labels]
    assert len(set(labels)) == 30
    assert texts(toy.Toy(setting="class").tasks()) == texts(toy.Toy(setting="domain").tasks())


def test_toy_depends_on_the_seed_and_not_on_the_number_of_tasks() -> None:
    assert texts(toy.Toy().tasks()) == texts(toy.Toy(tasks=5).tasks()[:3])
    assert texts(toy.Toy(seed=1).tasks()) != texts(toy.Toy().tasks())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": 1}, "tasks=1 is not allowed; allowed: 2 to 10"),
        ({"tasks": 11}, "tasks=11 is not allowed; allowed: 2 to 10"),
        ({"train": 2}, "train=2 is not allowed; allowed: 3 or more"),
        ({"dev": 0}, "dev=0 is not allowed; allowed: 3 or more"),
    ],
)
def test_toy_refuses_bad_sizes(arguments: dict[str, int], message: str) -> None:
    assert len(toy.PLACES) == 10
    with pytest.raises(InputError) as caught:
        toy.Toy(**arguments)
    assert message in str(caught.value)
