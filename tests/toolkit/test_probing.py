"""The linear probe against refits, and by hand on a fixed feature map."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from clbench.data import IGNORE, Example, LabelSpace, TaskData
from clbench.learner import Learner
from clbench.strategy import Strategy
from clbench.toolkit import probe_tasks, read_features
from clbench.toolkit.linear_probe import PENALTIES, Examples, fit_probe, probe_accuracy
from tests.helpers import MakeLearner, strategy, task_data


def refit(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Ridge regression with a free bias, from the normal equations."""
    wide = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    ridge = penalty * torch.eye(x.shape[1] + 1, dtype=torch.float64)
    ridge[-1, -1] = 0
    solved = torch.linalg.solve(wide.T @ wide + ridge, wide.T @ y)
    return solved[:-1], solved[-1]


@pytest.mark.parametrize("width", [3, 20])  # fewer features than examples, and more
def test_the_penalty_is_that_of_the_best_refits_with_one_left_out(width: int) -> None:
    stream = torch.Generator().manual_seed(3)
    labels = torch.arange(12) % 3
    x = torch.randn(12, width, generator=stream, dtype=torch.float64) + labels[:, None] / 2
    y = nn.functional.one_hot(labels, 3).double()
    scale = float(torch.linalg.svdvals(x - x.mean(0)).square().mean())
    errors = []
    for penalty in PENALTIES:
        error = 0.0
        for left in range(12):
            rest = torch.arange(12) != left
            weights, bias = refit(x[rest], y[rest], penalty * scale)
            error += float((x[left] @ weights + bias - y[left]).square().sum())
        errors.append(error)
    best = PENALTIES[errors.index(min(errors))] * scale
    assert PENALTIES[0] * scale < best
    probe = fit_probe(Examples(x, labels), [0, 1, 2])
    assert probe.penalty == pytest.approx(best)
    weights, bias = refit(x, y, best)
    torch.testing.assert_close(probe.weights, weights)
    torch.testing.assert_close(probe.biases, bias)


def test_features_that_are_all_the_same_give_the_most_frequent_label() -> None:
    same = torch.ones(4, 2, dtype=torch.float64)
    labels = torch.tensor([3, 5, 5, 5])
    assert probe_accuracy(Examples(same, labels), Examples(same, labels)) == 0.75


class FirstPixels(nn.Module):
    """The output layer reads the two pixels of an image, and answers 0 whatever they are."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(2, 4)
        nn.init.zeros_(self.classifier.weight)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.classifier(pixel_values.flatten(1)))


def image(first: float, second: float, label: int, task: int) -> Example:
    return {"pixel_values": torch.tensor([[[first, second]]]), "label": label, "task_id": task}


def test_a_probe_by_hand_on_a_fixed_feature_map(make_learner: MakeLearner) -> None:
    learner = make_learner(model=FirstPixels())
    # In the first task the first pixel tells the label, in the second the other one does.
    first = [image(x, y, int(x > 0), 0) for x in (-1.0, 1.0) for y in (-1.0, 1.0)]
    second = [image(x, y, 2 + int(y > 0), 1) for x in (-1.0, 1.0) for y in (-1.0, 1.0)]
    tests = [
        [image(0.5, 3.0, 1, 0), image(-0.5, 3.0, 0, 0), image(2.0, -3.0, 1, 0), image(2.0, 0.0, 0, 0)],
        [image(3.0, 0.5, 3, 1), image(3.0, -0.5, 3, 1)],
    ]
    tasks = [task_data(learner, 0, first), task_data(learner, 1, second)]
    assert probe_tasks(learner, Strategy(), tasks, tests) == [0.75, 0.5]
    assert probe_tasks(learner, Strategy(), tasks, [[], tests[1]]) == [None, 0.5]


class Words(nn.Module):
    """A label for each token, from two numbers that stand for it."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 2)
        self.words.weight.data = torch.tensor([[0.0, 0.0], [1, 0], [1, 1], [-1, 0], [-1, 1], [9, 9]])
        self.classifier = nn.Linear(2, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.classifier(self.words(input_ids)))


def test_of_sentences_each_word_with_a_label_is_an_example() -> None:
    learner = Learner(Words(), LabelSpace("task", ("a", "b"), ((0, 1),)), kind="token")

    def sentence(ids: list[int], labels: list[int]) -> Example:
        return {"input_ids": torch.tensor(ids), "label": torch.tensor(labels), "task_id": 0}

    # Word 5 has no label; where it had one, it would turn the probe round.
    train = [sentence([1, 3, 5], [0, 1, IGNORE]), sentence([2, 4], [0, 1]), sentence([5], [IGNORE])]
    task = TaskData(0, "words", (0, 1), train, [])
    test = [sentence([1, 2, 5, 3], [0, 1, IGNORE, 1])]
    assert probe_tasks(learner, Strategy(), [task], [test]) == [2 / 3]


def test_features_come_in_the_order_of_the_examples() -> None:
    """A pass takes the longest first; with a label a word, and with one a text."""
    learner = Learner(Words(), LabelSpace("task", ("a", "b"), ((0, 1),)), kind="token")
    given = [([3], [1]), ([1, 2, 4], [0, 0, 1]), ([2, 5], [0, IGNORE])]
    found = read_features(
        learner, [{"input_ids": torch.tensor(i), "label": torch.tensor(y), "task_id": 0} for i, y in given]
    )
    assert found.labels.tolist() == [1, 0, 0, 1, 0]
    assert found.features.tolist() == [[-1, 0], [1, 0], [1, 1], [-1, 1], [1, 1]]


def test_features_of_texts_come_in_the_order_of_the_texts(make_learner: MakeLearner) -> None:
    learner = make_learner()
    learner.model.eval()
    texts = [torch.arange(4, 4 + length) for length in (3, 9, 5, 2, 7)]
    examples = [{"input_ids": ids, "label": number % 2, "task_id": 0} for number, ids in enumerate(texts)]
    with torch.no_grad():
        found = read_features(learner, examples)
        alone = torch.cat([read_features(learner, [example]).features for example in examples])
    assert found.labels.tolist() == [0, 1, 0, 1, 0]
    torch.testing.assert_close(found.features, alone, atol=1e-5, rtol=1e-5)


def test_a_tasks_own_modules_make_its_features(make_learner: MakeLearner) -> None:
    learner = make_learner()
    built = strategy("lora_per_task", learner)
    stream = torch.Generator().manual_seed(0)
    texts = [torch.randint(4, 30, (6,), generator=stream) for _ in range(24)]
    examples = [
        [{"input_ids": ids, "label": 2 * task + number % 2, "task_id": task} for number, ids in enumerate(texts)]
        for task in range(2)
    ]
    tasks = [task_data(learner, task, examples[task][:16]) for task in range(2)]
    tests = [own[16:] for own in examples]
    before = probe_tasks(learner, built, tasks, tests)
    assert before[0] == before[1]  # the same texts, and modules that do nothing yet
    built.before_task(learner, tasks[1])
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            if not learner.is_head(name):
                parameter.add_(torch.randn(parameter.shape, generator=stream))
    after = probe_tasks(learner, built, tasks, tests)
    assert after[0] == before[0]
    assert after[1] != before[1]
