"""Routers: scores that do not depend on the number of labels, one-label tasks, and what is kept between evaluations."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from clbench.data import Example, LabelSpace
from clbench.head import make_head
from clbench.learner import Learner
from clbench.toolkit import lora, routing
from tests.conftest import tiny_bert
from tests.helpers import Examples, MakeLearner, strategy, task_data
from tests.strategies.test_lora import fill


def test_scores_by_hand() -> None:
    """Odds of 3 and of 1; with three labels 8 to 1 + 1."""
    two, three = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log(), torch.tensor([[0.8, 0.1, 0.1]]).log()
    torch.testing.assert_close(routing.log_odds(two), torch.tensor([3.0, 1.0]).log())
    torch.testing.assert_close(routing.log_odds(three), torch.tensor([4.0]).log())
    # So sure that the probability is 1 in fp32, and still not as sure as can be.
    torch.testing.assert_close(routing.log_odds(torch.tensor([[0.0, -40.0], [-50.0, 0.0]])), torch.tensor([40.0, 50.0]))
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    expected = torch.tensor([-math.log(entropy), -math.log(math.log(2))])
    torch.testing.assert_close(routing.negative_log_entropy(two), expected)
    assert routing.negative_log_entropy(torch.tensor([[0.0, float("-inf")]])).isfinite().all()


def test_the_nearest_class_mean_by_hand() -> None:
    features = torch.tensor([[0.0, 0.0], [5.0, 5.0], [9.0, 1.0]])
    means = [torch.tensor([[1.0, 1.0], [9.0, 9.0]]), torch.tensor([[4.0, 6.0], [8.0, 0.0], [-3.0, 0.0]])]
    # Squared distances: 2 against 9; 32 against 2; 64 against 2.
    assert routing.nearest_class_mean(features, means).tolist() == [0, 1, 1]


def unequal(widths: Sequence[int]) -> LabelSpace:
    """A class setting whose tasks have these numbers of labels."""
    ends = list(itertools.accumulate(widths))
    columns = tuple(tuple(range(end - width, end)) for end, width in zip(ends, widths, strict=True))
    return LabelSpace("class", tuple(f"label {n}" for n in range(ends[-1])), columns)


def unequal_learner(widths: Sequence[int], new: Sequence[str] = ()) -> Learner:
    """All tasks reached; positions mean nothing, and the layers ``new`` were not in the checkpoint."""
    torch.manual_seed(0)
    model = tiny_bert(sum(widths))
    torch.nn.init.zeros_(model.get_parameter("bert.embeddings.position_embeddings.weight"))
    learner = Learner(model, unequal(widths), head=make_head(model, "classifier", new))
    learner.tasks_seen = len(widths)
    return learner


def texts_of(labels: LabelSpace, task: int, count: int, seed: int = 0) -> list[Example]:
    """The task's own word, several times: its pretrained features are the same in each of the texts."""
    columns = labels.columns[task]
    return [
        {"input_ids": torch.full((3 + (n + seed) % 7,), 4 + task), "label": columns[n % len(columns)], "task_id": task}
        for n in range(count)
    ]


@pytest.mark.parametrize(("rule", "chosen"), [("confidence", [1, 0]), ("entropy", [1, 0])])
def test_modules_are_compared_with_what_is_usual_for_them(
    monkeypatch: pytest.MonkeyPatch, rule: str, chosen: list[int]
) -> None:
    """A module of two labels that is always sure says .9, one of four that seldom is says .7: the latter knows it."""
    learner = unequal_learner((2, 4))
    built = strategy("lora_per_task", learner, rank=2, router=rule)
    usual = {0: torch.tensor([[0.98, 0.02]]), 1: torch.tensor([[0.4, 0.3, 0.2, 0.1]])}
    says = {
        0: torch.tensor([[0.9, 0.1], [0.99, 0.01]]),
        1: torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]]),
    }
    router = built.router
    score = routing.log_odds if rule == "confidence" else routing.negative_log_entropy
    router.usual = [float(score(usual[task].log())) for task in range(2)]
    monkeypatch.setattr(routing, "own_log_probabilities", lambda _, __, ___, task: says[task].log())
    batch = learner.collate(texts_of(learner.labels, 0, 2))
    found, tasks = router.answer(learner, built.layers, batch)
    assert tasks.tolist() == chosen
    assert found.exp()[0].tolist() == pytest.approx([0, 0, 0.7, 0.1, 0.1, 0.1])
    assert found.exp()[1].tolist() == pytest.approx([0.99, 0.01, 0, 0, 0, 0])


@pytest.mark.parametrize("rule", ["confidence", "entropy", "prototype"])
@pytest.mark.parametrize("widths", [(1, 2, 3), (2, 1, 3), (1, 1, 1)])
def test_a_task_of_one_label_takes_its_own_texts_only(rule: str, widths: tuple[int, ...]) -> None:
    learner = unequal_learner(widths)
    learner.tasks_seen = 0
    built = strategy("lora_per_task", learner, rank=2, router=rule)
    fill(learner.model, 1, size=0.8)
    assert built.predict(learner, learner.collate(texts_of(learner.labels, 0, 2)), None) is None
    for task in range(3):
        learner.tasks_seen = task + 1
        own = [texts_of(learner.labels, task, 12, seed) for seed in (0, 1)]
        built.after_task(learner, task_data(learner, task, *own))
    learner.model.eval()
    single = torch.tensor([width == 1 for width in widths])
    for task in range(3):
        chosen = built.router.answer(learner, built.layers, learner.collate(texts_of(learner.labels, task, 20, 2)))[1]
        taken = single[chosen]
        assert taken.all() if single[task] else not taken.any()
        if single[task] or rule == "prototype":
            assert set(chosen.tolist()) == {task}


@pytest.mark.parametrize(
    ("name", "arguments"), [("ncm", {}), ("ncm", {"metric": "cosine"}), ("slda", {}), ("klda", {}), ("ranpac", {})]
)
def test_classifiers_on_frozen_features_know_one_label_tasks(name: str, arguments: dict[str, Any]) -> None:
    """Their scores are of labels, not of tasks: how many a task has does not matter."""
    learner = unequal_learner((2, 1, 3))
    built = strategy(name, learner, **arguments)
    for task in range(3):
        built.after_task(learner, task_data(learner, task, texts_of(learner.labels, task, 12)))
    owner = torch.tensor([0, 0, 1, 2, 2, 2])
    for task in range(3):
        found = built.predict(learner, learner.collate(texts_of(learner.labels, task, 9, 2)), None)
        assert set(owner[found.argmax(1)].tolist()) == {task}


@pytest.mark.parametrize("rule", ["confidence", "entropy", "prototype"])
def test_what_modules_said_is_kept_and_changes_no_bit(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    asked: list[int] = []
    own = routing.own_log_probabilities

    def counted(learner: Learner, layers: Any, batch: Any, task: int) -> Tensor:
        asked.append(task)
        return own(learner, layers, batch, task)

    monkeypatch.setattr(routing, "own_log_probabilities", counted)
    learner = unequal_learner((2, 3, 1))
    learner.tasks_seen = 0
    built = strategy("lora_per_task", learner, rank=2, router=rule)
    fill(learner.model, 1, size=0.8)
    tests = [learner.collate(texts_of(learner.labels, task, 9, 2)) for task in range(3)]
    for task in range(3):
        learner.tasks_seen = task + 1
        built.after_task(learner, task_data(learner, task, *(texts_of(learner.labels, task, 9, n) for n in (0, 1))))
        learner.model.eval()
        again = strategy("lora_per_task", learner=None, rank=2, router=rule)
        again.model, again.layers, again.names, again.ranks = built.model, built.layers, built.names, built.ranks
        again.load_state_dict(copy.deepcopy(built.state_dict()))  # as a resumed run, which has kept nothing
        for batch in tests[: task + 1]:
            copied = {name: value.clone() for name, value in batch.items()}  # by content, not by identity
            assert torch.equal(built.predict(learner, copied, None), again.predict(learner, batch, None))
        asked.clear()
        for batch in tests[: task + 1]:
            built.predict(learner, batch, None)
        assert asked == []
    # Another text is another batch.
    changed = {**tests[0], "input_ids": tests[1]["input_ids"]}
    assert not torch.equal(built.predict(learner, changed, None), built.predict(learner, tests[0], None))


def test_nothing_is_kept_of_modules_under_a_layer_that_goes_on_learning() -> None:
    learner = unequal_learner((2, 3), ["bert.pooler.dense.bias"])
    learner.tasks_seen = 0
    built = strategy("lora_per_task", learner, rank=2, router="confidence")
    fill(learner.model, 1, size=0.8)
    batch = learner.collate(texts_of(learner.labels, 0, 9, 2))
    found = []
    for task in range(2):
        learner.tasks_seen = task + 1
        with torch.no_grad():
            learner.model.get_parameter("base_model.model.bert.pooler.dense.bias").add_(1.0)
        built.after_task(learner, task_data(learner, task, *(texts_of(learner.labels, task, 9, n) for n in (0, 1))))
        learner.model.eval()
        with torch.no_grad():
            found.append(built.router.answer(learner, built.layers, batch)[0][:, :2])
            own = routing.own_log_probabilities(learner, built.layers, batch, 0)
        chosen = found[-1].isfinite().all(1)
        assert chosen.any()
        assert torch.equal(found[-1][chosen], own[chosen])


def test_answering_is_what_pefts_own_switch_gives(make_learner: MakeLearner, make_examples: Examples) -> None:
    for adaptive_rank in (False, True):
        learner = make_learner("class", tasks=3)
        built = strategy("lora_per_task", learner, rank=2, adaptive_rank=adaptive_rank)
        fill(learner.model, 1)
        learner.model.eval()
        batch = learner.collate(make_examples(learner.labels, 5))
        learning = {name for name, _ in learner.named_parameters()}
        with torch.no_grad():
            found = []
            for name in built.names:
                with lora.answering(built.layers, name):
                    found.append(learner.logits(batch))
            with lora.answering(built.layers):
                found.append(learner.logits(batch))
            assert built.model.active_adapters == ["task0"]
            assert {name for name, _ in learner.named_parameters()} == learning
            assert torch.equal(learner.logits(batch), found[0])
            for name, logits in zip(built.names, found[:3], strict=True):
                built.model.set_adapter(name)
                assert torch.equal(learner.logits(batch), logits)
            with built.model.disable_adapter():
                assert torch.equal(learner.logits(batch), found[3])
        assert not torch.equal(found[0], found[1])
