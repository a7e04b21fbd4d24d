"""Gradients that no scaler sees, in fp16 on the stand-in for a GPU: near fp32's, where most of them would be 0."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import pytest
import torch
from torch import Tensor

from clbench.data import Example
from clbench.learner import Learner
from clbench.rng import generator
from clbench.testing import as_cuda
from clbench.toolkit import diagonal_fisher, memory_gradient
from strategies.mas import output_sensitivity
from tests.helpers import Examples, MakeLearner

Work = Callable[[Learner, list[Example]], list[Tensor]]


def fisher(learner: Learner, examples: list[Example]) -> list[Tensor]:
    return list(diagonal_fisher(learner, examples, "empirical", generator(0, "fisher")).values())


def fisher_by_loop(learner: Learner, examples: list[Example]) -> list[Tensor]:
    return list(diagonal_fisher(learner, examples, "empirical", generator(0, "fisher"), loop=True).values())


def gradient(learner: Learner, examples: list[Example]) -> list[Tensor]:
    return memory_gradient(learner, learner.collate(examples), [p for _, p in learner.named_parameters()])


def sensitivity(learner: Learner, examples: list[Example]) -> list[Tensor]:
    return list(output_sensitivity(learner, examples).values())


def certain(learner: Learner, examples: list[Example]) -> None:
    """Fit the model to ``examples`` until its loss, and with it every gradient, is next to nothing."""
    optimizer = torch.optim.Adam(learner.model.parameters(), lr=2e-2)
    batch = learner.collate(examples)
    for _ in range(150):
        loss = learner.example_losses(learner.logits(batch), batch).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        learner.output_layer().weight.mul_(2.0)


def error(work: Work, learner: Learner, examples: list[Example], precision: str) -> float:
    """How far ``precision`` is from fp32: the length of the difference by that of fp32's numbers."""
    found = {}
    for learner.precision in ("fp32", precision):
        found[learner.precision] = torch.cat([value.flatten().cpu() for value in work(learner, examples)])
    return float((found[precision] - found["fp32"]).norm() / found["fp32"].norm())


@contextmanager
def as_before() -> Iterator[None]:
    """Inside, these passes are in fp16 as the training's are."""
    with mock.patch.object(Learner, "unscaled", return_value=nullcontext()):
        yield


@pytest.mark.parametrize("work", [fisher, fisher_by_loop, gradient, sensitivity])
def test_fp16_is_as_near_as_fp32(work: Work, make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    examples = make_examples(learner.labels, 12)
    certain(learner, examples)
    with as_cuda():
        learner.model.to("cuda")
        assert error(work, learner, examples, "fp16") < 1e-5
        assert learner.precision == "fp16"  # as it was
        if work is not sensitivity:  # of a certain model's logits it is large
            with as_before():
                assert error(work, learner, examples, "fp16") > 0.1
