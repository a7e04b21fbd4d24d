"""Recipes that change the rows of a task before they are encoded, and those that go by them."""

from __future__ import annotations

import inspect
import json
import random
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from clbench import sources
from clbench.errors import InputError
from clbench.kinds import find_kind
from clbench.learner import Learner
from clbench.scenario import Task
from clbench.strategy import Stack
from clbench.toolkit import Training, text_dataset
from tests.helpers import Examples, MakeLearner, RunToy, strategy, task_data
from tests.strategies.test_recipes import config, training


def task_of(rows: Sequence[tuple[str, str]], labels: tuple[str, ...] = ("a", "b")) -> Task:
    data = text_dataset(list(rows), labels)
    return Task("kitchen", "text", labels, data, data, data)


def told(learner: Learner) -> dict[str, Any]:
    (event,) = learner.take_events()
    return event


def test_balance_repeats_the_smaller_label(make_learner: MakeLearner) -> None:
    """7 rows of one label and 3 of the other: each of the 3 twice, and one of them a third time."""
    learner = make_learner()
    task = task_of([(f"a {n}", "a") for n in range(7)] + [(f"b {n}", "b") for n in range(3)])
    over = strategy("balance").examples(learner, task, task.train)
    assert Counter(over["label"]) == {0: 7, 1: 7}
    assert sorted(Counter(text for text in over["text"] if text[0] == "b").values()) == [2, 2, 3]
    assert told(learner)["rows_before"] == {"a": 7, "b": 3}
    again = strategy("balance").examples(learner, task, task.train)
    assert again["text"][:] == over["text"][:]
    under = strategy("balance", mode="under").examples(learner, task, task.train)
    assert Counter(under["label"]) == {0: 3, 1: 3}
    assert len(set(under["text"])) == 6


def test_what_is_balanced_stays(make_learner: MakeLearner) -> None:
    learner, task = make_learner(), task_of([("x", "a"), ("y", "b")])
    assert strategy("balance").examples(learner, task, task.train) is task.train
    assert learner.take_events() == []


def test_words_are_dropped_and_swapped() -> None:
    augment = inspect.getmodule(type(strategy("augment")))
    assert augment is not None
    words = ["one", "two", "three", "four", "five"]
    gone = augment.dropped(words, 2, random.Random(0))
    assert len(gone) == 3
    assert [word for word in words if word in gone] == gone
    assert augment.dropped(["alone"], 3, random.Random(0)) == ["alone"]
    moved = augment.swapped(words, 1, random.Random(0))
    assert sorted(moved) == sorted(words)
    assert sum(one != other for one, other in zip(words, moved, strict=True)) == 2
    synonyms = {"two": ["pair", "couple"]}
    assert augment.replaced(words, [1], synonyms, max) == ["one", "pair", *words[2:]]


def test_copies_keep_their_labels_and_come_after_the_rows(make_learner: MakeLearner) -> None:
    learner = make_learner()
    task = task_of([(f"w{n} x y z u v q r s t", "ab"[n % 2]) for n in range(20)] + [("alone", "a")])
    augment = strategy("augment", copies=2, rate=0.3)
    rows = augment.examples(learner, task, task.train)
    assert rows["text"][:21] == task.train["text"][:]
    label = dict(zip((text.split()[0] for text in task.train["text"][:20]), task.train["label"][:20], strict=True))
    for text, own in zip(rows["text"][21:], rows["label"][21:], strict=True):
        words = text.split()
        assert len(words) in (7, 10)  # three dropped, or swapped
        first = next((word for word in words if word in label), None)
        assert first is None or label[first] == own
    event = told(learner)
    assert (event["rows"], event["copies"], event["swaps_for_synonyms"]) == (21, len(rows) - 21, 0)
    assert 35 <= event["copies"] <= 40  # a text of one word has none
    assert rows.features == task.train.features
    assert augment.examples(learner, task, task.train)["text"][:] == rows["text"][:]


def test_synonyms_are_those_of_a_synset_and_their_want_is_counted(
    make_learner: MakeLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (
        b"  1 the licence\n"
        b"00001740 05 n 02 dog 0 domestic_dog 0 001 @ 00002137 n 0000 | an animal\n"
        b"00001930 05 n 01 entity 0 000 | alone\n"
        b"00002137 06 n 02 dog 1 frank 0 000 | a sausage\n"
    )
    monkeypatch.setattr(sources, "read", lambda *_: file)
    learner, augment = make_learner(), strategy("augment", methods=("synonym",), rate=0.3)
    task = task_of([("the Dog", "a"), ("an entity here", "b")])
    rows = augment.examples(learner, task, task.train)
    assert augment.synonyms == {"dog": ["domestic dog", "frank"], "domestic dog": ["dog"], "frank": ["dog"]}
    assert rows["text"][2] in ("the domestic dog", "the frank")
    assert sorted(rows["text"][3].split()) == ["an", "entity", "here"]
    assert told(learner)["swaps_for_synonyms"] == 1


def test_wordnets_own_nouns() -> None:
    if not any(row["name"] == "wordnet" and row["cached"] for row in sources.source_rows()):
        pytest.skip("not in the cache: wordnet")
    found = inspect.getmodule(type(strategy("augment"))).noun_synonyms()  # type: ignore[union-attr]
    assert "automobile" in found["car"]
    assert "car" in found["automobile"]
    assert len(found) > 50_000


def test_rows_with_another_tasks_look_are_left_out(make_learner: MakeLearner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clouds far apart, and three rows with the other's label."""
    pytest.importorskip("cleanlab")
    learner, wrong = make_learner(), (4, 30, 31)
    labels = [number // 25 for number in range(50)]
    points = np.random.default_rng(0).normal(size=(50, 2)) + 8 * np.array(labels)[:, None]
    given = [1 - label if number in wrong else label for number, label in enumerate(labels)]
    task = task_of([(f"text {number}", "ab"[label]) for number, label in enumerate(given)])
    clean = strategy("clean_labels")
    learner.kind = find_kind("text")
    monkeypatch.setattr(learner.kind, "encode", lambda *_: SimpleNamespace(examples=[[]]), raising=False)
    features = SimpleNamespace(features=torch.tensor(points))
    monkeypatch.setattr(inspect.getmodule(type(clean)), "read_features", lambda *_: features)
    rows = clean.examples(learner, task, task.train)
    assert set(task.train["text"]) - set(rows["text"]) == {f"text {number}" for number in wrong}
    event = told(learner)
    assert event["left_out"] == [{"row": n, "label": "ab"[given[n]], "seems": "ab"[labels[n]]} for n in wrong]


def test_a_label_of_one_row_leaves_the_task_as_it_is(make_learner: MakeLearner) -> None:
    pytest.importorskip("cleanlab")
    learner, task = make_learner(), task_of([("x", "a"), ("y", "a"), ("z", "b")])
    assert strategy("clean_labels").examples(learner, task, task.train) is task.train
    assert told(learner)["why"] == "a label has fewer than 2 rows"


def test_a_task_of_one_label_stays_as_it_is(make_learner: MakeLearner) -> None:
    pytest.importorskip("cleanlab")
    learner, task = make_learner(), task_of([(f"a {n}", "a") for n in range(4)], ("a",))
    assert len(strategy("clean_labels", learner).examples(learner, task, task.train)) == 4
    assert told(learner)["why"] == "it has one label"


def test_cleaning_comes_first_and_augmentation_last() -> None:
    members = [(name, strategy(name)) for name in ("augment", "balance", "clean_labels")]
    assert [type(member).__name__ for member in Stack(members)._acting("examples")] == [
        "CleanLabels", "Balance", "Augment"
    ]  # fmt: skip


def test_decay_follows_the_dev_loss(
    make_learner: MakeLearner, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured each 2 of 10 steps: up, up, down; at most four times, never below the run's."""
    learner, losses = make_learner(), iter([1.0, 2.0, 3.0, 2.5, 2.0])
    adaptive = strategy("adaptive_decay", learner, step=3.0, most=4.0, checks=5)
    monkeypatch.setattr(inspect.getmodule(type(adaptive)), "mean_loss", lambda *_: next(losses))
    examples = make_examples(learner.labels, 8)
    task = task_data(learner, 0, examples, examples[:2])
    adaptive.before_task(learner, task)
    work = Training(config(task_steps=10, weight_decay=0.02), Stack([("a", adaptive)]), learner, task, examples)
    decays: list[float] = []
    for _ in range(10):
        work.run_step()
        decays.append(work.optimizer.param_groups[0]["weight_decay"])
        assert work.optimizer.param_groups[1]["weight_decay"] == 0
        assert not adaptive.stop(learner, task)
    factors = [1, 1, 1, 1, 3, 3, 4, 4, 4 / 3, 4 / 3]
    assert decays == pytest.approx([0.02 * factor for factor in factors])
    assert adaptive.factor == 1.0  # 4/9 would be below the run's own


def test_what_is_changed_in_a_group_holds_after_a_resume(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner, adaptive = make_learner(), strategy("adaptive_decay", make_learner())
    examples = make_examples(learner.labels, 8)
    adaptive.setup(learner)
    work = training(learner, examples, adaptive, task_steps=4, weight_decay=0.5)
    work.run_step()
    state = work.state_dict()
    adaptive.factor = 8.0
    again = Training(config(task_steps=4, weight_decay=0.5), Stack([("a", adaptive)]), learner, work.task, examples)
    again.load_state_dict(state)
    again.run_step()
    assert again.optimizer.param_groups[0]["weight_decay"] == 4.0


def test_adaptive_decay_refuses_a_run_without(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    with pytest.raises(InputError, match="adaptive_decay multiplies the weight decay"):
        training(learner, make_examples(learner.labels, 4), strategy("adaptive_decay", learner), weight_decay=0.0)


def test_adaptive_decay_passes_over_a_task_whose_head_alone_learns(run_toy: RunToy) -> None:
    """by_size trains the heads of small tasks, which have no decay; a run of the default decay went down there."""
    _, folder = run_toy("by_size+adaptive_decay")
    lines = map(json.loads, (folder.path / "log.jsonl").read_text(encoding="utf-8").splitlines())
    assert [line["last_factor"] for line in lines if line["event"] == "adaptive_decay"] == [None] * 3


def test_the_rule_goes_by_a_tasks_size(make_learner: MakeLearner, make_examples: Examples) -> None:
    """4 examples: the head; 8: rates by layer; 12: more decay and smoothed labels; then 4 again."""
    learner = make_learner()
    learner.learning_rates = {"body": 1.0, "head": 8.0}
    rule = strategy("by_size", learner, small=5, large=10, decay=0.5)
    rates: list[set[float]] = []
    decays: list[float] = []
    for count in (4, 8, 12, 4):
        work = training(learner, make_examples(learner.labels, count), rule, weight_decay=0.01)
        rates.append({group["lr"] for group in work.optimizer.param_groups})
        decays.append(max(group["weight_decay"] for group in work.optimizer.param_groups))
        batch = learner.collate(make_examples(learner.labels, 2))
        assert (rule.loss(learner, batch, learner.logits(batch)) is None) == (count != 12)
        assert any(not learner.is_head(name) for name, _ in learner.named_parameters()) == (count != 4)
    assert rates == [{8.0}, {0.25, 0.5, 1.0, 8.0}, {1.0, 8.0}, {8.0}]
    assert decays == [0.0, 0.01, 0.1, 0.0]
    rules = [event["rule"] for event in learner.take_events()]
    assert rules == ["head only", "slower below", "regularised", "head only"]


@pytest.mark.parametrize(
    ("name", "arguments", "part"),
    [
        ("augment", {"copies": 0}, "copies"),
        ("augment", {"rate": 1.0}, "rate"),
        ("augment", {"methods": ()}, "methods"),
        ("augment", {"methods": ("dorp",)}, "did you mean 'drop'"),
        ("clean_labels", {"folds": 1}, "folds"),
        ("adaptive_decay", {"step": 1.0}, "step"),
        ("by_size", {"small": 9, "large": 3}, "large=3"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, arguments: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError) as caught:
        strategy(name, **arguments)
    assert part in str(caught.value)
    assert "allowed: " in str(caught.value)


def test_class_weights_by_hand(make_learner: MakeLearner) -> None:
    """3 rows of one label and 1 of the other: 4 / (2·3) and 4 / (2·1); of another task 1 and 2 rows: 3/2 and 3/4."""
    learner = make_learner()
    balance = strategy("balance", mode="class_weights")
    first = task_of([("u", "a"), ("v", "a"), ("w", "a"), ("x", "b")])
    assert balance.examples(learner, first, first.train) is first.train
    assert told(learner)["weights"] == {"a": 0.667, "b": 2.0}
    second = task_of([("x", "a"), ("y", "b"), ("z", "b")])
    balance.examples(learner, second, second.train)
    balance.before_task(learner, task_data(learner, 1))
    logits = torch.tensor([[0.0, 1.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 3.0, 1.0]])
    batch = {"labels": torch.tensor([0, 1, 3]), "task_ids": torch.tensor([0, 0, 1])}
    losses = learner.example_losses(logits, batch)
    found = losses.mean() + balance.loss(learner, batch, logits)
    assert found.item() == pytest.approx(float(losses[0] * 2 / 3 + losses[1] * 2 + losses[2] * 3 / 4) / 3)
    batch["remembered"] = torch.tensor([False, True, True])
    found = losses.mean() + balance.loss(learner, batch, logits)
    assert found.item() == pytest.approx(float(losses[0] * 2 / 3 + losses[1] + losses[2]) / 3)
