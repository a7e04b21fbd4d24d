"""The generated scenarios of tagged tokens, answers and images: what they hold and what they refuse."""

import importlib
from collections import Counter
from typing import Any

import numpy as np
import pytest

from clbench import plugins
from clbench.errors import InputError
from clbench.scenario import Task
from clbench.tasks.checks import check_tasks

# Imported by name, as the files lie outside the package where a type checker would look for them.
toy: Any = importlib.import_module("clbench.scenarios.toy")
toy_token: Any = importlib.import_module("clbench.scenarios.toy_token")
toy_generation: Any = importlib.import_module("clbench.scenarios.toy_generation")
toy_image: Any = importlib.import_module("clbench.scenarios.toy_image")

CLASSES: dict[str, Any] = {
    "toy_token": toy_token.ToyToken,
    "toy_generation": toy_generation.ToyGeneration,
    "toy_image": toy_image.ToyImage,
}


def rows(task: Task) -> list[dict[str, Any]]:
    return [row for data in task.splits.values() for row in data]


@pytest.mark.parametrize("name", CLASSES)
def test_sizes_no_example_twice_and_the_seed(name: str) -> None:
    made = CLASSES[name](tasks=4).tasks()
    for task in made:
        assert [len(data) for data in task.splits.values()] == [120, 40, 60]
        contents = [str({key: value for key, value in row.items() if key != "label"}) for row in rows(task)]
        assert len(set(contents)) == 220
    again, other = CLASSES[name](), CLASSES[name](seed=1)
    for first, second, third in zip(made, again.tasks(), other.tasks(), strict=False):
        assert rows(first) == rows(second) != rows(third)


@pytest.mark.parametrize("name", CLASSES)
def test_they_are_described_and_refuse_bad_sizes(name: str) -> None:
    description = plugins.describe("scenario", name)
    assert 20 < len(description.summary) <= 110
    assert "Rights:" in description.doc
    for arguments, message in (({"tasks": 1}, "tasks=1 is not allowed; allowed: 2 to"), ({"dev": 0}, "dev=0 is not")):
        with pytest.raises(InputError, match=message):
            CLASSES[name](**arguments)


def test_tokens_are_marked_in_spans_of_two_or_one() -> None:
    for setting in ("task", "class", "domain"):
        tasks = toy_token.ToyToken(setting=setting).tasks()
        assert len({task.labels for task in tasks}) == (1 if setting == "domain" else 3)
        for task in tasks:
            for row in rows(task):
                tags = [task.labels[tag] for tag in row["tags"]]
                assert len(tags) == len(row["tokens"]) == 11
                assert row["tokens"].count(task.name) == 1
                counts = Counter(tags)
                red, green = task.labels[1:3], task.labels[3:]
                # A thing of two words of each kind and one of one word: in all three B and two I.
                assert sorted(counts[b] for b in (red[0], green[0])) == [1, 2]
                assert (counts[red[1]], counts[green[1]], counts["O"]) == (1, 1, 6)
                for before, tag in zip(["O", *tags], tags, strict=False):
                    assert not tag.startswith("I-") or before == f"B-{tag[2:]}"


def test_a_keyword_means_another_thing_in_another_task() -> None:
    def meanings(task: Task) -> dict[str, str]:
        seen: dict[str, Counter[str]] = {word: Counter() for word in toy.KEYWORDS}
        for row in task.train:
            for word, tag in zip(row["tokens"], row["tags"], strict=True):
                if word in seen:
                    seen[word][task.labels[tag].partition("-")[2]] += 1
        return {word: counts.most_common(1)[0][0] for word, counts in seen.items()}

    tasks = toy_token.ToyToken(setting="domain", train=400).tasks()
    known = [meanings(task) for task in tasks]
    for meaning in known:
        assert Counter(meaning.values()) == {"red": 8, "green": 8, "": 8}
    shared = [sum(known[0][word] == other[word] for word in toy.KEYWORDS) for other in known[1:]]
    assert max(shared) < 16


def test_a_prompt_has_the_answer_that_its_keyword_has_in_its_task() -> None:
    tasks = toy_generation.ToyGeneration().tasks()
    meanings = []
    for task in tasks:
        meaning: dict[str, str] = {}
        for row in rows(task):
            place, *words = row["prompt"].split()
            (keyword,) = set(words) & set(toy.KEYWORDS)
            assert (place, len(words)) == (task.name, 5)
            assert meaning.setdefault(keyword, row["answer"]) == row["answer"]
        assert Counter(meaning.values()) == dict.fromkeys(toy_generation.ANSWERS, 4)
        assert Counter(task.train["answer"]) == dict.fromkeys(toy_generation.ANSWERS, 40)
        meanings.append(meaning)
    assert meanings[0] != meanings[1] != meanings[2] != meanings[0]
    assert [len(answer.split()) for answer in toy_generation.ANSWERS] == [1, 2, 3]


def gap(image: np.ndarray, pattern: np.ndarray) -> float:
    return float(image[pattern].mean() - image[~pattern].mean())


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_images_are_patterns_with_their_task_in_the_top_row(setting: str) -> None:
    tasks = check_tasks(toy_image.ToyImage(setting=setting).tasks(), setting)
    patterns = np.stack(toy_image._patterns())
    dealt = []
    for number, task in enumerate(tasks):
        images = task.train.with_format("numpy")["image"][:]
        assert images.shape == (120, 1, 8, 8)
        assert (images[:, 0, 0] == (np.arange(8) // 2 == number)).all()
        # The pattern of an image is the one whose bright pixels are brightest above its dark ones.
        found = [int(np.argmax([gap(image[0, 1:], pattern[1:]) for pattern in patterns])) for image in images]
        for image, which in zip(images, found, strict=True):
            assert 0.15 < gap(image[0, 1:], patterns[which][1:]) < 0.65
        pairs = set(zip(found, task.train["label"], strict=True))
        assert sorted(Counter(label for _, label in pairs).values()) == [2, 2, 2]
        assert len(pairs) == 6
        dealt.append(frozenset(pairs))
    assert len(set(dealt)) == 3
