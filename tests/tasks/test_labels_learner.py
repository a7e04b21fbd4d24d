"""The label space's mask in the three settings, and the loss and gradients under it."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from clbench.data import Example, LabelSpace
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.scenario import Task
from clbench.tasks.labels import label_space
from clbench.tasks.rows import text_dataset

INFINITY = math.inf


def task(name: str, labels: tuple[str, ...]) -> Task:
    data = text_dataset([(name, labels[0])], labels)
    return Task(name, "text", labels, data, data, data)


def test_task_and_class_give_every_label_its_column() -> None:
    tasks = [task("one", ("a", "b")), task("two", ("c", "d", "e"))]
    for setting in ("task", "class"):
        space = label_space(tasks, setting)
        assert space.names == ("a", "b", "c", "d", "e")
        assert space.columns == ((0, 1), (2, 3, 4))


def test_domain_shares_the_columns() -> None:
    space = label_space([task("one", ("a", "b")), task("two", ("a", "b"))], "domain")
    assert (space.names, space.columns) == (("a", "b"), ((0, 1), (0, 1)))


def test_tasks_in_the_task_setting_may_share_names_but_not_columns() -> None:
    space = label_space([task("one", ("a", "b")), task("two", ("a", "b"))], "task")
    assert (space.names, space.columns) == (("a", "b", "a", "b"), ((0, 1), (2, 3)))


def test_candidates() -> None:
    columns = ((0, 1), (2, 3, 4), (5,))
    names = tuple("abcdef")
    assert LabelSpace("task", names, columns).candidates(1, 0) == (2, 3, 4)
    assert LabelSpace("class", names, columns).candidates(None, 1) == (0, 1)
    assert LabelSpace("class", names, columns).candidates(0, 2) == (0, 1, 2, 3, 4)
    assert LabelSpace("class", names, columns).candidates(None, 0) == ()
    assert LabelSpace("domain", ("a", "b"), ((0, 1), (0, 1))).candidates(None, 0) == (0, 1)


LOGITS = torch.tensor([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])


@pytest.mark.parametrize(
    ("setting", "tasks_seen", "local", "expected"),
    [
        ("task", 1, False, [[1, 2, -INFINITY, -INFINITY], [-INFINITY, -INFINITY, 2, 1]]),
        ("class", 1, False, [[1, 2, -INFINITY, -INFINITY], [4, 3, -INFINITY, -INFINITY]]),
        ("class", 2, False, [[1, 2, 3, 4], [4, 3, 2, 1]]),
        ("class", 2, True, [[1, 2, -INFINITY, -INFINITY], [-INFINITY, -INFINITY, 2, 1]]),
    ],
)
def test_mask(
    make_learner: Callable[..., Learner], setting: str, tasks_seen: int, local: bool, expected: list[list[float]]
) -> None:
    learner = make_learner(setting, model=nn.Linear(1, 4))
    learner.tasks_seen, learner.local_labels = tasks_seen, local
    assert learner.mask(LOGITS, torch.tensor([0, 1])).tolist() == expected


def test_mask_in_the_domain_setting_takes_nothing_away(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner("domain", model=nn.Linear(1, 2))
    assert torch.equal(learner.mask(LOGITS[:, :2], torch.tensor([0, 1])), LOGITS[:, :2])


def test_example_losses_by_hand(make_learner: Callable[..., Learner]) -> None:
    batch = {"labels": torch.tensor([1, 2]), "task_ids": torch.tensor([0, 1])}
    # Task setting: −log softmax over two columns; 1 against 2, then 2 against 1.
    losses = make_learner("task", model=nn.Linear(1, 4)).example_losses(LOGITS, batch)
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-1)), math.log(1 + math.exp(-1))], rel=1e-6)
    # Class setting: over all four.
    losses = make_learner("class", model=nn.Linear(1, 4)).example_losses(LOGITS, batch)
    total = sum(math.exp(x) for x in (1, 2, 3, 4))
    assert losses.tolist() == pytest.approx([math.log(total) - 2, math.log(total) - 2], rel=1e-6)


@pytest.mark.parametrize(
    ("setting", "tasks_seen", "moving"), [("task", 2, (2, 3)), ("class", 1, (0, 1)), ("class", 2, (0, 1, 2, 3))]
)
def test_masked_rows_of_the_head_get_no_gradient_at_all(
    make_learner: Callable[..., Learner],
    make_examples: Callable[..., list[Example]],
    setting: str,
    tasks_seen: int,
    moving: tuple[int, ...],
) -> None:
    learner = make_learner(setting, tasks=3)
    learner.tasks_seen = tasks_seen
    batch = learner.collate(make_examples(learner.labels, 6, task=0 if setting == "class" else 1))
    learner.example_losses(learner.logits(batch), batch).mean().backward()
    gradients = {name: p.grad for name, p in learner.model.named_parameters() if learner.is_head(name)}
    assert len(gradients) == 2
    for gradient in gradients.values():
        assert gradient is not None
        for row in range(6):
            assert bool(gradient[row].abs().sum() > 0) == (row in moving)


def test_freeze_body_leaves_the_output_layer(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner()
    learner.freeze_body()
    assert [name for name, _ in learner.named_parameters()] == ["classifier.weight", "classifier.bias"]


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("classifier.weight", True),
        ("classifier", True),
        ("base_model.model.classifier.bias", True),
        ("bert.encoder.layer.0.output.dense.weight", False),
        ("base_model.model.bert.pooler.dense.weight", False),
        ("base_model.model.bert.pooler.dense.lora_A.task0.weight", False),
        ("prompts.0", False),
        ("scores.weight", False),
        ("weight", False),
    ],
)
def test_is_head(make_learner: Callable[..., Learner], name: str, head: bool) -> None:
    assert make_learner().is_head(name) is head


def test_where_nothing_is_given_the_head_is_the_last_linear_layer_with_an_output_a_label(
    make_learner: Callable[..., Learner],
) -> None:
    """Names mean nothing: here "classifier" and "score" lie in the body, and the output layer is called otherwise."""
    body = nn.ModuleDict({"score": nn.Linear(4, 4), "classifier": nn.Linear(4, 4)})
    model = nn.ModuleDict({"body": body, "answers": nn.Linear(4, 4), "after": nn.Linear(4, 5)})
    learner = make_learner(model=model)
    assert learner.output_layer() is model["answers"]
    assert [n for n, _ in model.named_parameters() if learner.is_head(n)] == ["answers.weight", "answers.bias"]
    wrapper = nn.ModuleDict({"network": nn.ModuleDict({"model": model})})
    learner.model = wrapper
    assert learner.output_layer() is model["answers"]
    assert [n for n, _ in wrapper.named_parameters() if learner.is_head(n)] == [
        "network.model.answers.weight", "network.model.answers.bias"
    ]  # fmt: skip
    learner = make_learner(model=nn.Linear(2, 4))
    assert learner.is_head("weight")
    assert not learner.is_head("elsewhere.weight")
    with pytest.raises(InputError, match="has no linear layer with 4 outputs, one a label"):
        make_learner(model=nn.Linear(2, 3)).output_layer()


class Constant(nn.Module):
    """Answers every image with the same logits in half precision."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.classifier = nn.Parameter(torch.tensor(logits, dtype=torch.float16))

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.classifier.expand(len(pixel_values), -1))


def test_logits_are_fp32_and_another_model_may_give_them(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner(model=Constant([1.0, 2.0, 3.0, 4.0]))
    batch = {"pixel_values": torch.zeros(2, 1, 1, 1), "labels": torch.zeros(2), "task_ids": torch.zeros(2)}
    assert learner.logits(batch).dtype == torch.float32
    assert learner.logits(batch).tolist() == [[1, 2, 3, 4]] * 2
    assert learner.logits(batch, Constant([9.0])).tolist() == [[9]] * 2


def test_padding_changes_no_logits(
    make_learner: Callable[..., Learner], make_examples: Callable[..., list[Example]]
) -> None:
    learner = make_learner()
    learner.model.eval()
    examples = make_examples(learner.labels, 6)
    together = learner.logits(learner.collate(examples))
    alone = torch.cat([learner.logits(learner.collate([example])) for example in examples])
    assert torch.allclose(together, alone, atol=1e-5)
