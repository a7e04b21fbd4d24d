"""Recipes of fine-tuning against values worked by hand."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench.config import RunConfig, make_config
from clbench.data import IGNORE, Example, LabelSpace
from clbench.errors import InputError
from clbench.kinds import find_kind
from clbench.learner import Learner
from clbench.models.plain_networks import make_mlp
from clbench.strategy import Stack, Strategy
from clbench.toolkit import Training, layer_depths, mean_loss
from tests.helpers import RECIPES, ROOT, Examples, MakeLearner, strategy, task_data, weights
from tests.models import zoo


def config(**options: Any) -> RunConfig:
    given = {"scenario": "toy", "strategy": "naive", "batch_size": 4, "warmup": 0.0, "precision": "fp32"}
    return make_config({**given, **options})


def training(learner: Learner, examples: Sequence[Example], *members: Any, **options: Any) -> Training:
    """The steps of a task with ``members``, which are set up already, begun."""
    stack, task = Stack([(str(n), member) for n, member in enumerate(members)]), task_data(learner, 0, examples)
    stack.before_task(learner, task)
    return Training(config(**options), stack, learner, task, list(examples))


class Gradients(Strategy):
    """Notes which parameters have a gradient in each step, and which values."""

    hook_phases = {"before_step": "fix"}

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def before_step(self, learner: Learner) -> None:
        self.steps.append({n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None})


@pytest.mark.parametrize(("layers", "deepest"), [(0, 0), (1, 1), (2, 2), (-1, 2)])
def test_freeze_takes_the_first_layers(layers: int, deepest: int, make_learner: MakeLearner) -> None:
    learner = make_learner()
    frozen = strategy("freeze", learner, layers=layers)
    frozen.before_task(learner, task_data(learner, 0))
    depth = layer_depths(learner)
    assert {n for n, _ in learner.named_parameters()} == {n for n, own in depth.items() if own > deepest}
    assert depth["bert.embeddings.word_embeddings.weight"] == 0
    assert depth["bert.encoder.layer.1.output.dense.weight"] == 2


def test_freeze_refuses_more_layers_than_there_are(make_learner: MakeLearner) -> None:
    with pytest.raises(InputError, match="freeze: layers=3; allowed: up to 2"):
        strategy("freeze", make_learner(), layers=3)


@pytest.mark.parametrize("name", ["freeze", "discriminative_rates", "gradual_unfreezing"])
def test_what_goes_by_layers_refuses_a_model_without(name: str) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.classifier = nn.Linear(3, 3), nn.Linear(3, 2)

    learner = Learner(Flat(), LabelSpace("task", ("a", "b"), ((0, 1),)))
    with pytest.raises(InputError, match=f"{name}: Flat has no list of layers"):
        strategy(name, learner)


def test_encoder_only_leaves_the_longer_output_layer(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    before = learner.output_layer().weight.detach().clone()
    work = training(
        learner, make_examples(learner.labels, 4), strategy("encoder_only", learner, scale=3.0), task_steps=2
    )
    start = weights(learner)
    work.run_step()
    after = weights(learner)
    assert torch.equal(after["classifier.weight"], 3 * before)
    assert not torch.equal(
        after["bert.encoder.layer.0.output.dense.weight"], start["bert.encoder.layer.0.output.dense.weight"]
    )


def test_rates_fall_by_the_layer(make_learner: MakeLearner, make_examples: Examples) -> None:
    """Two layers, decay 1/2: the second layer and the pooler at the body's rate, the first at ½, embeddings at ¼."""
    learner = make_learner()
    learner.learning_rates = {"body": 1.0, "head": 8.0}
    work = training(learner, make_examples(learner.labels, 4), strategy("discriminative_rates", learner, decay=0.5))
    rates = {id(p): g["lr"] for g in work.optimizer.param_groups for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in work.optimizer.param_groups for p in g["params"]}
    expected = {"embeddings": 0.25, "layer.0": 0.5, "layer.1": 1.0, "pooler": 1.0, "classifier": 8.0}
    for name, parameter in learner.named_parameters():
        assert rates[id(parameter)] == next(rate for part, rate in expected.items() if part in name), name
        assert decay[id(parameter)] == (0.01 if parameter.ndim > 1 and "classifier" not in name else 0.0)


def test_schedules_by_hand() -> None:
    def factors(kind: str, steps: int, warmup: float | None) -> list[float]:
        made = strategy("schedule", kind=kind, warmup=warmup)
        return [made.learning_rate_factor(step, steps) for step in range(steps)]

    assert factors("constant", 3, 0.0) == [1.0, 1.0, 1.0]
    assert factors("linear", 4, 0.0) == [1.0, 0.75, 0.5, 0.25]
    assert factors("cosine", 4, 0.0) == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])
    # Two steps of warm-up, then halves: of eight steps four at 1, two at a tenth, two at a hundredth.
    assert factors("step", 10, 0.2) == pytest.approx([0.5, 1.0, *[1.0] * 4, 0.1, 0.1, 0.01, 0.01])


def test_one_cycle_is_torchs() -> None:
    made = strategy("schedule", kind="one_cycle")
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=20, cycle_momentum=False)
    for step in range(20):
        assert made.learning_rate_factor(step, 20) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9), step
        optimizer.step()
        if step < 19:
            cycle.step()


def test_layers_thaw_from_the_top(make_learner: MakeLearner, make_examples: Examples) -> None:
    """Two layers and embeddings in 6 of 12 steps: 2 steps with the head alone, then one part more each 2 steps."""
    learner, seen = make_learner(), Gradients()
    examples = make_examples(learner.labels, 4)
    work = training(learner, examples, strategy("gradual_unfreezing", learner), seen, task_steps=12)
    start = weights(learner)
    depth = layer_depths(learner)
    for _ in range(8):
        work.run_step()
        if work.step == 2:  # no decay either
            assert {n for n, value in weights(learner).items() if not torch.equal(value, start[n])} == {
                n for n, own in depth.items() if own == 3
            }
    shallowest = [min(depth[name] for name in step) for step in seen.steps]
    assert shallowest == [3, 3, 2, 2, 1, 1, 0, 0]


def test_bitfit_learns_biases_at_their_rate_and_the_head(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    learner.learning_rates = {"body": 1.0, "head": 8.0}
    bitfit = strategy("bitfit", learner, learning_rate=0.5)
    learner.model.requires_grad_(True)  # as another strategy might
    work = training(learner, make_examples(learner.labels, 4), bitfit)
    names = {name for name, _ in learner.named_parameters()}
    assert names == {n for n, _ in learner.model.named_parameters() if n.endswith(".bias")} | {"classifier.weight"}
    rates = {id(p): g["lr"] for g in work.optimizer.param_groups for p in g["params"]}
    assert {rates[id(p)] for n, p in learner.named_parameters() if not learner.is_head(n)} == {0.5}


def test_bitfit_refuses_a_model_without_biases() -> None:
    learner = Learner(zoo.make("Llama"), LabelSpace("task", ("a", "b", "c"), ((0, 1, 2),)))
    with pytest.raises(InputError, match="bitfit: LlamaForSequenceClassification has no biases"):
        strategy("bitfit", learner)


def test_smoothed_loss_is_torchs_among_the_candidates(make_learner: MakeLearner) -> None:
    """Of four columns each task's two are candidates; torch smooths over the columns that it is given."""
    learner = make_learner()
    logits = torch.tensor([[1.0, 3.0, 9.0, -2.0], [5.0, 0.0, 0.5, 2.0]], requires_grad=True)
    batch = {"labels": torch.tensor([1, 2]), "task_ids": torch.tensor([0, 1])}
    smoothing = strategy("label_smoothing", smoothing=0.2)
    found = learner.example_losses(logits, batch).mean() + smoothing.loss(learner, batch, logits)
    own = torch.stack([logits[0, :2], logits[1, 2:]])
    expected = nn.functional.cross_entropy(own, torch.tensor([1, 0]), label_smoothing=0.2)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    (gradient,) = torch.autograd.grad(found, [logits])
    assert gradient.isfinite().all()
    # By hand for the first row: p = (1, e²) / (1 + e²), target (0.1, 0.9).
    log_sum = math.log(1 + math.exp(2))
    row = {key: value[:1] for key, value in batch.items()}
    first = learner.example_losses(logits[:1], row).mean() + smoothing.loss(learner, row, logits[:1])
    assert first.item() == pytest.approx(0.1 * log_sum + 0.9 * (log_sum - 2), abs=1e-6)


def test_tokens_without_an_answer_are_not_smoothed(make_learner: MakeLearner) -> None:
    learner = make_learner()
    learner.kind = find_kind("token")
    logits = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    batch = {"labels": torch.tensor([[0, IGNORE, 1]]), "task_ids": torch.tensor([0])}
    found = learner.example_losses(logits, batch).mean()
    found = found + strategy("label_smoothing", smoothing=0.2).loss(learner, batch, logits)
    kept = logits[0, [0, 2], :2]
    expected = nn.functional.cross_entropy(kept, torch.tensor([0, 1]), label_smoothing=0.2)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("anchor", ["pretrained", "zero"])
def test_the_pull_of_l1_has_one_size(anchor: str, make_learner: MakeLearner) -> None:
    learner = make_learner()
    l1 = strategy("l1", learner, strength=0.25, anchor=anchor)
    l1.before_task(learner, task_data(learner, 0))
    name = "bert.pooler.dense.weight"
    moved = learner.model.get_parameter(name)
    before = moved.detach().clone()
    with torch.no_grad():
        moved[0] += 0.3
        moved[1] -= 0.001
    for _, parameter in learner.named_parameters():
        parameter.grad = torch.zeros_like(parameter)
    l1.before_step(learner)
    assert moved.grad is not None
    if anchor == "pretrained":
        assert moved.grad[0].tolist() == pytest.approx([0.25] * 8)
        assert moved.grad[1].tolist() == pytest.approx([-0.25] * 8)
        assert not moved.grad[2:].any()
    else:
        assert torch.equal(moved.grad, 0.25 * moved.detach().sign())
    for free in ("classifier.weight", "bert.pooler.dense.bias"):
        assert not learner.model.get_parameter(free).grad.any()  # type: ignore[union-attr]
    assert torch.equal(before[2:], moved.detach()[2:])


def test_dropout_rises_to_its_rate(make_learner: MakeLearner, make_examples: Examples) -> None:
    """Of 10 steps: 0.4 − 0.3 · exp(−t), t being the step."""
    learner = make_learner(dropout=0.2)
    dropout = strategy("dropout", learner, rate=0.4, start=0.1)
    rates: list[float] = []

    class Rates(Strategy):
        def before_step(self, learner: Learner) -> None:
            rates.append(next(m.p for m in learner.model.modules() if isinstance(m, nn.Dropout)))

    examples = make_examples(learner.labels, 4)
    work = training(learner, examples, dropout, Rates(), task_steps=10)
    for _ in range(10):
        work.run_step()
    assert rates == pytest.approx([0.4 - 0.3 * math.exp(-step) for step in range(10)])
    dropout.after_steps(learner, task_data(learner, 0))
    assert {m.p for m in learner.model.modules() if isinstance(m, nn.Dropout)} == {0.2}


def test_dropout_refuses_a_network_without() -> None:
    learner = Learner(make_mlp((1, 2, 2), 4, 1, 2), LabelSpace("task", ("a", "b"), ((0, 1),)))
    with pytest.raises(InputError, match="dropout: PlainNetwork has no dropout modules"):
        strategy("dropout", learner)


def test_dev_loss_is_the_mean_over_examples(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner(dropout=0.5)
    examples = make_examples(learner.labels, 7)
    learner.model.train()
    found = mean_loss(learner, examples)
    assert learner.model.training
    learner.model.eval()
    alone = [learner.collate([example]) for example in examples]
    losses = [learner.example_losses(learner.logits(batch), batch).item() for batch in alone]
    assert found == pytest.approx(sum(losses) / 7, abs=1e-6)


def test_training_stops_after_patience_and_goes_back_to_the_best_step(
    make_learner: MakeLearner, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured each 2 of 20 steps; the lowest is the third, and two in a row are no lower: 10 steps, weights of 6."""
    learner = make_learner()
    losses = iter([3.0, 2.0, 1.0, 1.5, 1.0, 0.5])
    stopping = strategy("early_stopping", learner, patience=2)
    monkeypatch.setattr(inspect.getmodule(type(stopping)), "mean_loss", lambda *_: next(losses))
    examples = make_examples(learner.labels, 8)
    task = task_data(learner, 0, examples, examples[:2])
    work = Training(config(task_steps=20), Stack([("early_stopping", stopping)]), learner, task, examples)
    stopping.before_task(learner, task)
    kept: list[dict[str, Tensor]] = []
    while True:
        work.run_step()
        kept.append(weights(learner))
        if stopping.stop(learner, task):
            break
    assert work.step == 10
    stopping.after_steps(learner, task)
    assert all(torch.equal(value, kept[5][name]) for name, value in weights(learner).items())
    (event,) = learner.take_events()
    assert event.pop("text") == "early_stopping: task 0 took 10 of 20 steps, the best was 6"
    assert event == {"event": "early_stopping", "task": "task 0", "best_step": 6, "steps": 10, "dev_loss": 1.0}
    assert stopping.state_dict()["best"] == {}


def test_without_dev_nothing_stops(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    stopping, examples = strategy("early_stopping", learner, patience=1), make_examples(learner.labels, 4)
    work = training(learner, examples, stopping, task_steps=3)
    for _ in range(3):
        work.run_step()
        assert not stopping.stop(learner, task_data(learner, 0, examples))
    stopping.after_steps(learner, task_data(learner, 0, examples))
    assert learner.take_events() == []


def test_sam_steps_with_the_gradient_of_the_worst_point_nearby(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner, seen = make_learner(), Gradients()
    examples = make_examples(learner.labels, 4)
    work = training(learner, examples, strategy("sam", learner, rho=0.1), seen, task_steps=2)
    start = weights(learner)
    batch = learner.collate(examples)
    named = dict(learner.named_parameters())

    def gradients() -> dict[str, Tensor]:
        loss = learner.example_losses(learner.logits(batch), batch).mean()
        given = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        return {name: g for name, g in zip(named, given, strict=True) if g is not None}

    first = gradients()
    norm = math.sqrt(sum(float(g.square().sum()) for g in first.values()))
    with torch.no_grad():
        for name, gradient in first.items():
            named[name].add_(0.1 * gradient / norm)
    expected = gradients()
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(start[name])
    at_step: dict[str, Tensor] = {}
    seen.before_step = lambda learner: (at_step.update(weights(learner)), Gradients.before_step(seen, learner))  # type: ignore
    work.run_step()
    assert all(torch.equal(at_step[name], start[name]) for name in named)  # back before the step
    assert set(seen.steps[0]) == set(expected)
    for name, gradient in expected.items():
        assert torch.allclose(seen.steps[0][name], gradient, atol=1e-5), name
    assert max(float((expected[name] - first[name]).abs().max()) for name in first) > 1e-3


def test_sam_goes_back_where_the_second_pass_fails(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    sam = strategy("sam", learner)
    learner.example_losses(learner.logits(b := learner.collate(make_examples(learner.labels, 2))), b).mean().backward()
    start = weights(learner)

    def fail() -> None:
        raise MemoryError

    learner.gradients_again = fail
    with pytest.raises(MemoryError):
        sam.read_gradients(learner)
    assert all(torch.equal(value, start[name]) for name, value in weights(learner).items())


def test_sam_refuses_fp16(make_learner: MakeLearner) -> None:
    learner = make_learner()
    learner.precision = "fp16"
    with pytest.raises(InputError, match="fp16's scaling does not; allowed: fp32, bf16"):
        strategy("sam", learner)


def test_r_drop_by_hand(make_learner: MakeLearner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two candidates with p = (¾, ¼) in one pass and (½, ½) in the other, the label the first: all of the formula."""
    learner = make_learner(dropout=0.1)
    r_drop = strategy("r_drop", learner, alpha=2.0, dropout=0.3)
    assert {m.p for m in learner.model.modules() if isinstance(m, nn.Dropout)} == {0.3}
    one = torch.tensor([[math.log(3), 0.0, 7.0, 7.0]])
    other = torch.tensor([[1.0, 1.0, -3.0, 0.0]], requires_grad=True)
    features = learner.features = torch.ones(1)
    monkeypatch.setattr(learner, "logits", lambda _: other)
    batch = {"labels": torch.tensor([0]), "task_ids": torch.tensor([0])}
    found = learner.example_losses(one, batch).mean() + r_drop.loss(learner, batch, one)
    forth = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    back = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert found.item() == pytest.approx(-math.log(0.75) - math.log(0.5) + 2.0 * 0.5 * (forth + back), abs=1e-6)
    assert torch.autograd.grad(found, [other])[0].isfinite().all()
    assert learner.features is features


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("freeze", {"layers": -2}),
        ("encoder_only", {"scale": 0.0}),
        ("discriminative_rates", {"decay": 1.5}),
        ("schedule", {"warmup": 1.0}),
        ("gradual_unfreezing", {"until": 0.0}),
        ("bitfit", {"learning_rate": 0.0}),
        ("label_smoothing", {"smoothing": 1.0}),
        ("l1", {"strength": 0.0}),
        ("dropout", {"rate": 1.0}),
        ("early_stopping", {"patience": 0}),
        ("sam", {"rho": 0.0}),
        ("r_drop", {"dropout": 0.0}),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, arguments: dict[str, Any]) -> None:
    (argument,) = arguments
    with pytest.raises(InputError, match=f"{name}: .*{argument}.*allowed: "):
        strategy(name, **arguments)


def test_every_recipe_is_on_its_page() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| `(\w+)(?:\([^`]*\))?` \|", page.partition("## Recipes")[2], re.MULTILINE)
    assert sorted(names) == sorted(RECIPES)
