"""The optimizer's settings against values worked by hand: schedules, one step of each optimizer, clipping."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from clbench.config import make_config
from clbench.strategy import Strategy
from clbench.toolkit import Training, learning_rate_factor, make_optimizer
from tests.helpers import Examples, MakeLearner, task_data


def config(**options: Any) -> Any:
    return make_config({"scenario": "toy", "strategy": "naive", "device": "cpu", "precision": "fp32", **options})


def test_schedules_rise_alike_and_fall_each_its_way() -> None:
    # Six steps, the first two of them warm-up; then 0, 1/4, 2/4 and 3/4 of the way are behind.
    constant = [learning_rate_factor(step, 6, 1 / 3, "constant") for step in range(6)]
    assert constant == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]
    cosine = [learning_rate_factor(step, 6, 1 / 3, "cosine") for step in range(6)]
    root = math.sqrt(0.5)
    assert cosine == pytest.approx([0.5, 1.0, 1.0, (1 + root) / 2, 0.5, (1 - root) / 2])


def test_a_step_of_each_optimizer_by_hand() -> None:
    """θ = 2, gradient 0.5, rate 0.1, decay 0.4. Adam's first step is the rate, whatever the gradient's size."""
    expected = {
        "adamw": 2 - 0.1 * 0.4 * 2 - 0.1,  # the decay beside the gradient
        "adam": 2 - 0.1,  # the decay in the gradient, whose size does not count
        "sgd": 2 - 0.1 * (0.5 + 0.4 * 2),
    }
    for name, value in expected.items():
        weight = nn.Parameter(torch.tensor([2.0]))
        weight.grad = torch.tensor([0.5])
        make_optimizer(config(optimizer=name), [{"params": [weight], "lr": 0.1, "weight_decay": 0.4}]).step()
        assert weight.item() == pytest.approx(value, abs=1e-5), name


def test_momentum_adds_the_last_steps_gradient() -> None:
    weight = nn.Parameter(torch.tensor([0.0]))
    optimizer = make_optimizer(config(optimizer="sgd", momentum=0.5), [{"params": [weight], "lr": 1.0}])
    for gradient in (1.0, 3.0):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
    assert weight.item() == pytest.approx(-1 - (3 + 0.5 * 1))


def test_what_learns_later_begins_its_momentum_later() -> None:
    """As with gradual_unfreezing, or where a batch has nothing for a parameter; torch's fused step raised TypeError."""
    early, late = (nn.Parameter(torch.tensor([0.0])) for _ in range(2))
    optimizer = make_optimizer(config(optimizer="sgd", momentum=0.5), [{"params": [early, late], "lr": 1.0}])
    for first, second in ((1.0, None), (3.0, 2.0), (0.0, 1.0)):
        early.grad = torch.tensor([first])
        late.grad = None if second is None else torch.tensor([second])
        optimizer.step()
    assert early.item() == pytest.approx(-1 - (3 + 0.5 * 1) - 0.5 * 3.5)
    assert late.item() == pytest.approx(-2 - (1 + 0.5 * 2))


@pytest.mark.parametrize("most", [math.inf, 0.01])
def test_only_a_finite_norm_clips(most: float, make_learner: MakeLearner, make_examples: Examples) -> None:
    """The same first step of SGD: its length is the gradient's norm, or ``most`` where that is less."""
    learner = make_learner()
    learner.learning_rates = {"body": 1.0, "head": 1.0}
    examples = make_examples(learner.labels, 4)
    settings = {"optimizer": "sgd", "weight_decay": 0.0, "warmup": 0.0, "schedule": "constant", "task_steps": 1}
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    work = Training(
        config(max_grad_norm=most, **settings), Strategy(), learner, task_data(learner, 0, examples), examples
    )
    batch = learner.collate(examples)
    gradients = torch.autograd.grad(
        learner.example_losses(learner.logits(batch), batch).mean(),
        [p for _, p in learner.named_parameters()],
        allow_unused=True,
    )
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients if g is not None))
    work.run_step()
    moved = math.sqrt(sum(float((p.detach() - before[name]).square().sum()) for name, p in learner.named_parameters()))
    assert norm > 0.1
    assert moved == pytest.approx(min(norm, most), rel=1e-3)


def test_steps_go_before_epochs_and_cut_the_last_pass() -> None:
    chosen = config(task_steps=7, epochs=50, min_steps=40, batch_size=8)
    assert [chosen.steps(count) for count in (20, 400)] == [7, 7]
    assert config(epochs=2, min_steps=0, batch_size=8).steps(20) == 6


def test_steps_draw_the_data_again_in_a_new_order(make_learner: MakeLearner, make_examples: Examples) -> None:
    """5 steps over 4 examples in batches of 2: all of them twice, then half of a third pass."""

    class Seen(Strategy):
        def __init__(self) -> None:
            self.lengths: list[list[int]] = []

        def train_batch(self, batch: Any) -> Any:
            self.lengths.append(batch["attention_mask"].sum(1).tolist())
            return batch

    learner, seen = make_learner(), Seen()
    examples = [{**e, "input_ids": torch.arange(4, 7 + n)} for n, e in enumerate(make_examples(learner.labels, 4))]
    chosen = config(task_steps=5, epochs=1, batch_size=2)
    work = Training(chosen, seen, learner, task_data(learner, 0, examples), examples)
    while work.step < work.steps:
        work.run_step()
    passes = [sorted(seen.lengths[n] + seen.lengths[n + 1]) for n in (0, 2)]
    assert passes == [[3, 4, 5, 6]] * 2
    assert len(seen.lengths) == 5
