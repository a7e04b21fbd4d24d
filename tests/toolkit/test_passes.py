"""Passes outside training's steps where memory is scarce: smaller ones, the same numbers, the size kept and logged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from clbench.data import PIXEL_BUDGET, Batch, Example, pass_budget
from clbench.learner import Learner
from clbench.rng import generator
from clbench.strategy import Strategy
from clbench.toolkit import diagonal_fisher, evaluate_all, memory_gradient, stored_outputs
from clbench.toolkit.frozen_features import collect_features
from tests.helpers import Examples, MakeLearner

Numbers = list[Tensor]


def fisher(learner: Learner, examples: list[Example]) -> Numbers:
    return list(diagonal_fisher(learner, examples, "empirical", generator(0, "fisher")).values())


def gradient(learner: Learner, examples: list[Example]) -> Numbers:
    return memory_gradient(learner, learner.collate(examples), [p for _, p in learner.named_parameters()])


def outputs(learner: Learner, examples: list[Example]) -> Numbers:
    logits, features = stored_outputs(learner, examples)
    return [torch.stack(logits).exp(), features]


def features(learner: Learner, examples: list[Example]) -> Numbers:
    found, labels = collect_features(learner, examples, "output_layer")
    order = labels.argsort(stable=True)  # of equal lengths; those of other batches may stand elsewhere
    return [found.sum(0), labels[order].double()]


def evaluation(learner: Learner, examples: list[Example]) -> Numbers:
    (row,) = [row for row in evaluate_all(learner, Strategy(), [examples, []]) if row is not None]
    return [torch.tensor(row.predictions).double(), torch.tensor(row.confidences)]


def scarce(learner: Learner, most: int) -> list[int]:
    """Let a forward pass of more than ``most`` examples find no memory; the sizes that were tried, as they come."""
    forward, tried = learner._forward, []

    def limited(batch: Batch, model: Any) -> Tensor:
        tried.append(len(batch["task_ids"]))
        if tried[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(batch, model)

    learner._forward = limited  # type: ignore[method-assign]
    return tried


@pytest.mark.parametrize("work", [fisher, gradient, outputs, features, evaluation])
def test_what_does_not_fit_is_done_in_smaller_passes(
    work: Callable[[Learner, list[Example]], Numbers], make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner = make_learner()
    examples = make_examples(learner.labels, 9)
    expected = work(learner, examples)
    tried = scarce(learner, 4)
    found = work(learner, examples)
    assert max(tried) == 9
    assert tried[-1] <= 4
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)
    if work is not gradient:  # the size that fits is kept, and the log says so
        assert learner.take_events()[-1] == {"event": "out_of_memory", "pass_budget": learner.pass_budget}
        tried.clear()
        work(learner, examples)
        assert max(tried) <= 4


def test_what_an_attempt_had_gathered_is_not_counted_twice(make_learner: MakeLearner, make_examples: Examples) -> None:
    """Memory runs out in the third batch's backward pass, when two batches are in the sums already."""
    learner = make_learner()
    examples = make_examples(learner.labels, 9)
    expected = diagonal_fisher(learner, examples, "empirical", generator(0, "fisher"))
    forward, calls = learner._forward, []

    def fails_once(batch: Batch, model: Any) -> Tensor:
        logits = forward(batch, model)
        if logits.requires_grad:
            calls.append(len(logits))
            if len(calls) == 3:
                logits.register_hook(lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")))
        return logits

    learner._forward = fails_once  # type: ignore[method-assign]
    found = diagonal_fisher(learner, examples, "empirical", generator(0, "fisher"), token_budget=20)
    assert len(calls) > 6
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-5, atol=1e-9)


def test_an_example_that_does_not_fit_alone_is_not_tried_for_ever(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner = make_learner()
    scarce(learner, 0)
    with pytest.raises(torch.OutOfMemoryError):
        evaluation(learner, make_examples(learner.labels, 3))


def test_images_are_taken_by_their_bytes() -> None:
    def images(*shape: int) -> list[Example]:
        return [{"pixel_values": torch.zeros(shape), "label": 0, "task_id": 0}]

    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert pass_budget(images(1, 8, 8), cpu) == 1024  # 256 bytes an image of 256 KiB
    assert pass_budget(images(3, 224, 224), gpu) == 27  # 602,112 bytes of 16 MiB
    assert pass_budget(images(3, 4000, 4000), cpu) == 1
    assert PIXEL_BUDGET["cpu"] == 2**18
