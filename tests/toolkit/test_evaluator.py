"""Predictions, accuracy, macro-F1 and confidence, against values worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from clbench.data import Batch, Example
from clbench.kinds import find_kind
from clbench.learner import Learner
from clbench.strategy import Strategy
from clbench.toolkit.evaluator import Evaluation, evaluate_all, measurable


class Table(nn.Module):
    """The image (one pixel, a row's number) is answered with that row of the table."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.table[pixel_values.flatten().long()])


def images(labels: list[int], task: int) -> list[Example]:
    return [
        {"pixel_values": torch.full((1, 1, 1), float(number)), "label": label, "task_id": task}
        for number, label in enumerate(labels)
    ]


def evaluate(
    learner: Learner, strategy: Strategy, examples: list[Example], position: int, token_budget: int = 0
) -> Evaluation:
    """The evaluation of one task's test set, the other tasks having none."""
    tests = [examples if task == position else [] for task in range(learner.tasks)]
    found = evaluate_all(learner, strategy, tests, token_budget)[position]
    assert found is not None
    return found


# Softmax of (log a, log b, …) is proportional to (a, b, …).
ROWS = torch.tensor([[1.0, 3.0, 90.0, 1.0], [3.0, 1.0, 2.0, 6.0], [1.0, 1.5, 8.0, 2.0]]).log()


def test_task_setting_by_hand(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner("task", model=Table(ROWS))
    first = evaluate(learner, Strategy(), images([1, 1, 1], 0), 0)
    assert first.labels == [1, 1, 1]
    assert first.predictions == [1, 0, 1]
    assert first.confidences == pytest.approx([0.75, 0.75, 0.6])
    assert first.score == pytest.approx(2 / 3)
    second = evaluate(learner, Strategy(), images([2, 3, 3], 1), 1)
    assert second.predictions == [2, 3, 2]
    assert second.confidences == pytest.approx([90 / 91, 0.75, 0.8])


def test_class_setting_by_hand(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner("class", model=Table(ROWS))
    learner.tasks_seen = 1
    assert [measurable(learner, position) for position in (0, 1)] == [True, False]
    assert evaluate(learner, Strategy(), images([1, 1, 1], 0), 0).predictions == [1, 0, 1]
    learner.tasks_seen = 2
    assert measurable(learner, 1)
    both = evaluate(learner, Strategy(), images([1, 1, 1], 0), 0)
    assert both.predictions == [2, 3, 2]
    assert both.confidences == pytest.approx([90 / 95, 6 / 12, 8 / 12.5])
    learner.tasks_seen = 0
    assert not measurable(learner, 0)


def test_domain_setting_is_always_measurable(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner("domain", width=4, model=Table(ROWS))
    learner.tasks_seen = 0
    assert measurable(learner, 1)
    assert evaluate(learner, Strategy(), images([2, 3, 0], 1), 1).predictions == [2, 3, 2]


def test_macro_f1_by_hand() -> None:
    # Label 0: 2 right of 3 true and 4 predicted. Label 1: 1 right of 2 true and 2 predicted: 1/2. Label 2: none right.
    evaluation = Evaluation([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0], [0.5] * 6, find_kind("text"), "accuracy")
    assert evaluation.score == pytest.approx(0.5)
    precision = 2 / 4
    assert evaluation.beside == pytest.approx((2 * precision * (2 / 3) / (precision + 2 / 3) + 0.5 + 0.0) / 3)


def test_macro_f1_is_over_the_tasks_own_labels() -> None:
    # Two of four go to another task's label 7, which has no F1 here: both labels have recall 1/2, precision 1.
    evaluation = Evaluation([0, 0, 1, 1], [0, 7, 1, 7], [0.5] * 4, find_kind("text"), "accuracy")
    assert evaluation.beside == pytest.approx(2 / 3)


def test_each_prediction_is_that_of_its_own_text(
    make_learner: Callable[..., Learner], make_examples: Callable[..., list[Example]]
) -> None:
    learner = make_learner("class", width=3)
    examples = make_examples(learner.labels, 30, task=1)
    found = evaluate(learner, Strategy(), examples, 1)
    with torch.no_grad():
        alone = torch.cat([learner.logits(learner.collate([example])) for example in examples])
    assert len(set(found.confidences)) > 20
    assert found.predictions == alone.argmax(-1).tolist()
    assert found.confidences == pytest.approx(alone.softmax(-1).amax(-1).tolist(), abs=1e-5)


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_the_budget_does_not_matter(
    make_learner: Callable[..., Learner], make_examples: Callable[..., list[Example]], setting: str
) -> None:
    learner = make_learner(setting)
    examples = make_examples(learner.labels, 40, task=1)
    one, *others = [evaluate(learner, Strategy(), examples, 1, token_budget=budget) for budget in (1, 30, 100, 10**6)]
    assert len(set(one.predictions)) > 1
    for other in others:
        assert other.predictions == one.predictions
        assert other.confidences == pytest.approx(one.confidences, abs=1e-5)
        assert other.labels == [example["label"] for example in examples]


def test_the_model_is_in_eval_mode(
    make_learner: Callable[..., Learner], make_examples: Callable[..., list[Example]]
) -> None:
    learner = make_learner(dropout=0.5)
    examples = make_examples(learner.labels, 20)
    results = []
    for mode in (True, False):
        learner.model.train(mode)
        results.append(evaluate(learner, Strategy(), examples, 0))
    assert results[0] == results[1]
    batch = learner.collate(examples)
    # The same model in train mode does answer at random, so that the above means something.
    learner.model.train()
    assert not torch.equal(learner.logits(batch), learner.logits(batch))


class Asked(Strategy):
    """Notes the task id it is given and answers with label 1 of the first task, sure to 3 : 1."""

    def __init__(self) -> None:
        self.given: list[int | None] = []

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        self.given.append(task_id)
        assert torch.is_inference_mode_enabled()
        assert "labels" not in batch
        # The second task's id is 1; where it is not given there is nothing to read it from.
        assert batch["task_ids"].tolist() == [task_id or 0] * len(batch["task_ids"])
        logits = torch.tensor([[0.0, math.log(3.0), -1.0, -1.0]])[:, : len(learner.labels.names)]
        return logits.expand(len(batch["task_ids"]), -1)


@pytest.mark.parametrize(("setting", "given"), [("task", 1), ("domain", None), ("class", None)])
def test_a_strategy_answers_and_is_told_the_task_only_where_the_setting_gives_it(
    make_learner: Callable[..., Learner], setting: str, given: int | None
) -> None:
    strategy = Asked()
    answered = evaluate(make_learner(setting, model=Table(ROWS)), strategy, images([3, 0, 1], 1), 1)
    assert strategy.given == [given]
    # Among the second task's columns 2 and 3, which are alike, the first; among all, or the shared two, label 1.
    assert answered.predictions == [2 if setting == "task" else 1] * 3
    right = {"task": 0.5, "domain": 0.75, "class": 3 / (1 + 3 + 2 * math.exp(-1))}[setting]
    assert answered.confidences == pytest.approx([right] * 3)


def test_evaluation_changes_neither_weights_nor_random_state(
    make_learner: Callable[..., Learner], make_examples: Callable[..., list[Example]]
) -> None:
    learner = make_learner(dropout=0.5)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    state = torch.get_rng_state()
    evaluate(learner, Strategy(), make_examples(learner.labels, 20), 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in learner.model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in learner.model.parameters())


class Listening(Strategy):
    """Notes what it is asked and leaves the answer to the model."""

    def __init__(self) -> None:
        self.asked: list[tuple[int | None, list[int]]] = []

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        assert "labels" not in batch
        self.asked.append((task_id, sorted(set(batch["task_ids"].tolist()))))
        return None


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_one_stream_for_all_tasks_answers_as_one_task_after_the_other(
    make_learner: Callable[..., Learner], make_examples: Callable[..., list[Example]], setting: str
) -> None:
    learner, listening = make_learner(setting, tasks=3), Listening()
    tests = [make_examples(learner.labels, 15 + task, task=task) for task in range(3)]
    together, apart = (evaluate_all(learner, strategy, tests) for strategy in (Strategy(), listening))
    for one, other, examples in zip(together, apart, tests, strict=True):
        assert one is not None
        assert other is not None
        assert one.labels == [example["label"] for example in examples]
        assert one.predictions == other.predictions
        assert one.confidences == pytest.approx(other.confidences, abs=1e-6)
    # A strategy that answers is given the task id where the setting gives it, and no trace of it elsewhere.
    given = [(task, [task]) for task in range(3)] if setting == "task" else [(None, [0])] * 3
    assert listening.asked == given


def test_nothing_can_be_answered_before_training_in_the_class_setting(
    make_learner: Callable[..., Learner], make_examples: Callable[..., list[Example]]
) -> None:
    learner = make_learner("class")
    learner.tasks_seen = 0
    tests = [make_examples(learner.labels, 4, task=task) for task in range(2)]
    assert evaluate_all(learner, Strategy(), tests) == [None, None]
