"""Prototypical networks: episodes, their gradient, and what answers after a task."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench.data import Example
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.strategy import Stack
from clbench.toolkit import Training
from tests.helpers import Examples, MakeLearner, strategy, task_data, weights
from tests.models import zoo
from tests.strategies.test_recipes import config


def features(learner: Learner, examples: list[Example]) -> Tensor:
    return learner.logits_and_features(learner.collate(examples))[1]


def episode(learner: Learner, queries: list[Example], train: list[Example], **arguments: Any) -> Any:
    """The strategy as it stands when the step of ``queries`` begins."""
    few_shot = strategy("few_shot", learner, **arguments)
    few_shot.before_task(learner, task_data(learner, 0, train))
    learner.new_examples, learner.step = queries, 0
    few_shot.train_batch(learner.collate(queries))
    learner.model.train()
    return few_shot


def test_an_episodes_loss_is_the_papers(make_learner: MakeLearner, make_examples: Examples) -> None:
    """−log softmax(−‖f − c‖²) of the queries, with the gradient through the prototypes, too."""
    learner = make_learner(width=3)
    train = make_examples(learner.labels, 12)
    few_shot = episode(learner, train[:4], train, shots=2)
    assert [e["label"] for e in few_shot.support] == [0, 0, 1, 1, 2, 2]
    assert not {id(e) for e in few_shot.support} & {id(e) for e in train[:4]}
    batch = learner.collate(train[:4])
    loss = learner.example_losses(learner.logits(batch), batch).mean()
    learned = [p for name, p in learner.named_parameters() if "layer.0" in name and p.ndim > 1]
    found = torch.autograd.grad(loss, learned)
    learner.model.eval()
    prototypes = features(learner, few_shot.support).view(3, 2, -1).mean(1)
    distances = torch.cdist(features(learner, train[:4]), prototypes).square()
    expected = nn.functional.cross_entropy(-distances, batch["labels"])
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    for one, other in zip(found, torch.autograd.grad(expected, learned), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
        assert other.abs().max() > 1e-4


def test_an_episode_has_so_many_ways(make_learner: MakeLearner, make_examples: Examples) -> None:
    """The batch's two labels, and one of the six others; a label of one example is its own support."""
    learner = make_learner(width=8)
    train = make_examples(learner.labels, 8)
    few_shot = episode(learner, train[:2], train, shots=4, ways=3)
    labels = few_shot.episode.tolist()
    assert labels[:2] == [0, 1]
    assert len(labels) == 3
    assert [e["label"] for e in few_shot.support] == labels


@pytest.mark.parametrize("setting", ["task", "domain"])
def test_the_nearest_mean_of_what_is_kept_answers(
    setting: str, make_learner: MakeLearner, make_examples: Examples
) -> None:
    """After two tasks, with the model as it is then; labels that both have are means over both's shots."""
    learner = make_learner(setting)
    few_shot = strategy("few_shot", learner, shots=2)
    tasks = [task_data(learner, position, make_examples(learner.labels, 8, position)) for position in range(2)]
    for task in tasks:
        few_shot.before_task(learner, task)
        with torch.no_grad():
            learner.model.get_parameter("bert.pooler.dense.weight").mul_(1.5)
        few_shot.after_task(learner, task)
    kept = few_shot.buffer.examples
    expected = [0, 0, 1, 1, 2, 2, 3, 3] if setting == "task" else [0, 0, 1, 1, 0, 0, 1, 1]
    assert [example["label"] for example in kept] == expected
    learner.model.eval()
    questions = make_examples(learner.labels, 10, 0, seed=5)
    columns = learner.labels.columns[0]
    with torch.no_grad():
        seen = list(zip(features(learner, kept), kept, strict=True))
        own = [torch.stack([f for f, example in seen if example["label"] == label]).mean(0) for label in columns]
        distances = torch.cdist(features(learner, questions), torch.stack(own)).square()
        batch = learner.collate(questions)
        answers = learner.mask(learner.logits(batch), batch["task_ids"])[:, list(columns)]
    assert torch.allclose(answers.softmax(-1), (-distances).softmax(-1), atol=1e-5)


def test_only_the_body_learns_and_untouched_labels_answer_as_before(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner = make_learner()
    before = learner.output_layer().weight.detach().clone()
    few_shot, train = strategy("few_shot", learner), make_examples(learner.labels, 8)
    task = task_data(learner, 0, train)
    few_shot.before_task(learner, task)
    work = Training(config(task_steps=3), Stack([("few_shot", few_shot)]), learner, task, train)
    start = weights(learner)
    for _ in range(3):
        work.run_step()
    few_shot.after_steps(learner, task)
    few_shot.after_task(learner, task)
    moved = {name for name, value in weights(learner).items() if not torch.equal(value, start[name])}
    assert "bert.encoder.layer.0.output.dense.weight" in moved
    assert not any(name.startswith("classifier") for name in moved)
    assert torch.equal(few_shot.layer.kept[0][2:], before[2:])
    assert not torch.equal(few_shot.layer.kept[0][:2], before[:2])


def test_an_output_layer_without_biases_gets_them(make_examples: Examples) -> None:
    from clbench.data import LabelSpace

    learner = Learner(zoo.make("Llama"), LabelSpace("task", ("a", "b", "c"), ((0, 1, 2),)), padding_id=0)
    learner.tasks_seen = 1
    train = make_examples(learner.labels, 9)
    few_shot = episode(learner, train[:3], train, shots=1)
    batch = learner.collate(train[:3])
    found = learner.logits(batch)
    learner.model.eval()
    distances = torch.cdist(features(learner, train[:3]), features(learner, few_shot.support)).square()
    assert torch.allclose(found.softmax(-1), (-distances).softmax(-1), atol=1e-4)


def test_another_output_layer_is_refused(make_learner: MakeLearner) -> None:
    learner = make_learner()
    few_shot = strategy("few_shot", learner)
    learner.model.classifier = nn.Linear(8, 4)
    with pytest.raises(InputError, match="few_shot: another strategy replaces the output layer"):
        few_shot.before_task(learner, task_data(learner, 0))
    strategy("few_shot", other := make_learner())
    with pytest.raises(InputError, match="seq_star: after the first task the output layer alone learns"):
        strategy("seq_star", other)
