"""Steps of training where memory runs out: the gradients are tried again, a step that moved the weights never is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from clbench.config import RunConfig
from clbench.data import Batch
from clbench.errors import RunError
from clbench.learner import Learner
from clbench.strategy import Strategy
from clbench.testing import as_cuda
from clbench.toolkit import Training
from tests.helpers import Examples, MakeLearner, task_data, weights

STEPS = 6


class Exhausted(Strategy):
    """Finds no memory in one call of one hook; counts the calls of each."""

    def __init__(self, hook: str = "", call: int = 3) -> None:
        self.hook, self.call = hook, call
        self.calls: Counter[str] = Counter()

    def _count(self, hook: str) -> None:
        self.calls[hook] += 1
        if hook == self.hook and self.calls[hook] == self.call:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        self._count("loss")
        return None

    def before_step(self, learner: Learner) -> None:
        self._count("before_step")

    def after_step(self, learner: Learner) -> None:
        self._count("after_step")


@pytest.fixture
def gpu() -> Iterator[None]:
    with as_cuda():
        yield


def training(
    make_learner: MakeLearner, make_examples: Examples, strategy: Strategy, precision: str = "fp32", **settings: Any
) -> Training:
    learner = make_learner()
    if precision == "fp16":
        learner.model.to("cuda")
    learner.precision = precision
    learner.learning_rates = {"body": 1e-3, "head": 1e-2}
    task = task_data(learner, 0, make_examples(learner.labels, 8))
    given = {"scenario": "toy", "strategy": "naive", "epochs": STEPS, "min_steps": 0, "batch_size": 8}
    config = RunConfig(**{**given, "precision": precision, "auto_batch": True, **settings})
    return Training(config, strategy, learner, task, task.train)


def run(work: Training) -> Training:
    while work.step < work.steps:
        work.run_step()
    work.take_loss()
    return work


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("hook", ["loss", "before_step"])
def test_gradients_are_tried_again_and_each_step_is_taken_once(
    hook: str, precision: str, make_learner: MakeLearner, make_examples: Examples
) -> None:
    """Before, fp16's scaler refused the second attempt: "unscale_() has already been called"."""
    strategy = Exhausted(hook)
    work = run(training(make_learner, make_examples, strategy, precision))
    assert (work.step, work.steps, work.micro_batch_size) == (STEPS, STEPS, 4)
    assert strategy.calls["after_step"] == STEPS
    assert strategy.calls["before_step"] == STEPS + (hook == "before_step")
    assert len({float(state["step"]) for state in work.optimizer.optimizer.state.values()} | {STEPS}) == 1
    if precision == "fp16":  # the failed attempt counts for nothing
        whole = run(training(make_learner, make_examples, Exhausted(), precision))
        assert work.accelerator.scaler.state_dict() == whole.accelerator.scaler.state_dict()
        for name, value in weights(whole.learner).items():
            assert torch.allclose(weights(work.learner)[name].cpu(), value.cpu(), atol=2e-3)


def test_what_runs_out_after_the_weights_have_moved_is_told_and_not_tried_again(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    """Before, the step was taken a second time: 61 of 60."""
    strategy = Exhausted("after_step")
    work = training(make_learner, make_examples, strategy)
    with pytest.raises(RunError, match=r"^out of memory on cpu in task 'task 0' where step 3 moves the weights; fin"):
        run(work)
    assert (work.step, strategy.calls["loss"]) == (2, 3)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"auto_batch": False}, "in task 'task 0' with batches of 8; finished tasks are kept; try --batch-size 4 or "),
        ({"batch_size": 1}, "in task 'task 0' with batches of 1; finished tasks are kept; try a smaller model"),
    ],
)
def test_a_batch_that_cannot_be_made_smaller_is_told(
    settings: dict[str, Any], line: str, make_learner: MakeLearner, make_examples: Examples
) -> None:
    with pytest.raises(RunError, match=line):
        run(training(make_learner, make_examples, Exhausted("loss", call=1), **settings))


class Loud(Strategy):
    """A loss whose gradients overflow in fp16 in the first two steps."""

    def __init__(self) -> None:
        self.calls = 0

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        self.calls += 1
        return logits.sum() * (1e8 if self.calls <= 2 else 0.0)


@pytest.mark.usefixtures("gpu")
def test_steps_that_fp16_skipped_are_counted(make_learner: MakeLearner, make_examples: Examples) -> None:
    work = training(make_learner, make_examples, Loud(), "fp16")
    start = weights(work.learner)
    for _ in range(2):
        work.run_step()
    assert all(torch.equal(value.cpu(), start[name].cpu()) for name, value in weights(work.learner).items())
    run(work)
    assert work.learner.skipped_steps == 2
    assert work.accelerator.scaler.get_scale() == 65536 / 4
    assert any(not torch.equal(value.cpu(), start[name].cpu()) for name, value in weights(work.learner).items())
