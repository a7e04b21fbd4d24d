"""The estimate of a step's memory, against bytes counted by hand; nothing is allocated and nothing changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.memory_case import LLAMA_7B, Case, predict
from clbench.config import make_config
from clbench.engine.memory_estimate import MemoryEstimate, estimate_memory, kept_numbers
from clbench.models.live_bytes import LiveBytes
from clbench.models.recomputation import recompute_activations
from clbench.strategy import Stack
from tests.helpers import Examples, MakeLearner, strategy, weights

MIB = 2**20


@pytest.mark.parametrize("fake", [False, True])
def test_live_bytes_of_a_chain_are_those_that_somebody_holds(fake: bool) -> None:
    with FakeTensorMode() if fake else torch.no_grad():
        given = torch.zeros(100)
        with LiveBytes([given]) as live:
            first = given + 1  # 400 bytes
            view = first.view(10, 10).t()  # none of its own
            second = torch.cat([first, first])  # 800
            assert live.live == 1200
            del first
            assert live.live == 1200  # the view holds it
            del view, second
            assert live.live == 0
            given.add_(1)
            third = given.double()  # 800
        assert (live.live, live.peak, third.numel()) == (800, 1200, 100)


def estimated(learner: Any, examples: Any, *members: str, **options: Any) -> MemoryEstimate:
    stack = Stack([(name, strategy(name, learner)) for name in members])
    config = make_config({"scenario": "x", "strategy": "+".join(members), "batch_size": 4, **options})
    return estimate_memory(learner, stack, config, examples)


def test_what_is_counted_of_a_module_with_a_penalty_is_counted_by_hand(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    """A module of rank 8 on the tiny BERT: words, positions, types, norm; two layers; a pooler; 4 labels."""
    learner = make_learner(tasks=2)
    examples = make_examples(learner.labels, 4)
    body = 8 * (30 + 16 + 2) + 16 + 2 * (4 * (64 + 8) + 16 + 96 + 12 + 96 + 8 + 16) + 64 + 8
    assert sum(p.numel() for p in learner.model.parameters()) == body + 36
    naive = estimated(learner, examples, "naive")
    # transformers' table of positions is a buffer: 16 whole numbers, and as many token types.
    assert naive.weights == 4 * (body + 36) + 2 * 8 * 16
    assert (naive.gradients, naive.optimizer, naive.strategy) == (4 * (body + 36), 8 * (body + 36), 0)
    assert naive.activations is not None
    module = 8 * (2 * (4 * (8 + 8) + 2 * (8 + 12)) + (8 + 8))
    held = estimated(learner, examples, "lora_sequential", "ewc")
    learning = module + 36
    assert held.weights == naive.weights + 4 * module
    assert (held.gradients, held.optimizer, held.strategy) == (4 * learning, 8 * learning, 8 * learning)
    assert held.total == held.weights + 20 * learning + (held.activations or 0)
    sgd = estimated(learner, examples, "ewc", optimizer="sgd", momentum=0.9)
    assert (sgd.gradients, sgd.optimizer) == (4 * learning, 4 * learning)


def test_a_layer_that_is_computed_again_keeps_what_it_read(make_learner: MakeLearner) -> None:
    """Each further layer adds its input alone, 4 texts of 6 tokens and 8 numbers of 4 bytes, and otherwise far more."""
    from transformers import BertConfig, BertForSequenceClassification

    def activations(layers: int, again: bool) -> int:
        sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "vocab_size": 30}
        model: Any = BertForSequenceClassification(
            BertConfig(num_hidden_layers=layers, num_labels=4, attn_implementation="eager", **sizes)
        )
        for parameter in model.bert.parameters():
            parameter.requires_grad_(False)
        model.bert.encoder.layer[0].output.dense.weight.requires_grad_(True)
        if again:
            recompute_activations(model, "mine")
        learner = make_learner(model=model)
        before = weights(learner)
        examples = [{"input_ids": torch.arange(4, 10), "label": 0, "task_id": 0}] * 4
        found = estimated(learner, examples, "naive").activations
        assert found is not None
        after = weights(learner)
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert all(p.grad is None and p.device.type == "cpu" for p in model.parameters())
        return found

    assert activations(3, again=True) - activations(2, again=True) == 4 * 6 * 8 * 4
    assert activations(3, again=False) - activations(2, again=False) > 10 * (4 * 6 * 8 * 4)


def test_who_keeps_what_is_not_known_is_named() -> None:
    members = [(name, strategy(name)) for name in ("ewc", "lora_sequential", "replay")]
    assert kept_numbers(Stack(members)) == (2, ("replay",))
    estimate = MemoryEstimate(2 * MIB, MIB, 2 * MIB, 0, None, ("replay",))
    assert estimate.line() == (
        "estimate of a training step's memory: 5.0 MiB = weights 2.0 MiB + gradients 1.0 MiB + optimizer 2.0 MiB; "
        "without activations, what replay keeps"
    )


@pytest.mark.slow
def test_llama_7b_is_estimated_without_its_weights() -> None:
    """6,738 million parameters less the language model's output layer, of 32,000 × 4,096, and 4 rows in its place."""
    estimate = predict(Case(LLAMA_7B, "lora_sequential"))
    attention, feed_forward = 4 * 4096**2, 3 * 4096 * 11008
    body = 32 * (attention + feed_forward + 2 * 4096) + 32000 * 4096 + 4096
    assert body + 32000 * 4096 == 6_738_415_616
    module = 32 * (4 * 8 * (4096 + 4096) + 3 * 8 * (4096 + 11008))
    rope = 2 * 4 * 64  # buffers: the frequencies of 64 pairs, and a copy
    assert estimate.weights == 4 * (body + module + 4 * 4096) + rope
    assert estimate.optimizer == 2 * estimate.gradients == 8 * (module + 4 * 4096)
