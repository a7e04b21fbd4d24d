"""Frozen weights in bf16: the same bits of a run that computes in bf16, and who lets them learn is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from clbench.clock import Clock
from clbench.engine.preparation import Prepared, prepare
from clbench.errors import InputError
from clbench.head import make_head
from clbench.models.frozen_precision import full_weights, store_in_bf16
from clbench.plugins.plan import make_plan
from tests.conftest import TOY
from tests.helpers import slow, watched
from tests.models import zoo

HALF = {"precision": "bf16", "frozen_precision": "bf16"}


def prepared(strategy: str, **options: Any) -> Prepared:
    return prepare(make_plan({"model": "tiny", **TOY, **options, "strategy": strategy}), Clock())


def test_each_weight_is_rounded_once_and_only_where_it_multiplies() -> None:
    """1 + 2⁻⁹ lies half way between 1 and the next number of bf16, 1 + 2⁻⁷ · ½, and is rounded to even."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.norm = nn.Embedding(5, 4), nn.LayerNorm(4)
            self.layer, self.tied, self.head = nn.Linear(4, 4), nn.Linear(4, 5), nn.Linear(4, 2)
            self.tied.weight = self.words.weight

    model = Model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1 + 2**-9)
    store_in_bf16(model, make_head(model, "head"), "bf16")
    stored = {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}
    assert stored == {"layer.weight"}
    assert model.layer.weight[0, 0].item() == 1.0
    assert model.words.weight[0, 0].item() == 1 + 2**-9
    full = full_weights(model, {"head.bias": torch.ones(2, dtype=torch.float64)})
    assert {name for name, value in full.items() if value.dtype != torch.float32} == {"head.bias"}


@pytest.mark.parametrize(
    "strategy",
    [
        *("lora_sequential+ewc", slow("lora_per_task"), slow("o_lora"), slow("adapter")),
        *(slow("lora_sequential+replay(memory_size=6)"), slow("prefix_tuning"), slow("ia3"), slow("slda")),
    ],
)
def test_a_run_in_bf16_has_the_same_bits(strategy: str, tmp_path: Path) -> None:
    plain, weights, _ = watched(strategy, tmp_path / "plain", TOY, precision="bf16", first_tasks=2)
    half, weights_half, _ = watched(strategy, tmp_path / "half", TOY, **HALF, first_tasks=2)
    assert half["accuracy_matrix"] == plain["accuracy_matrix"]
    assert half["predictions_sha256"] == plain["predictions_sha256"]
    one, other = weights.after[-1], weights_half.after[-1]
    assert one.keys() == other.keys()
    stored = {name for name, value in other.items() if value.dtype == torch.bfloat16}
    assert stored
    assert all(torch.equal(one[name].to(other[name].dtype), other[name]) for name in one)
    assert half["cost"]["trainable_parameters"] == plain["cost"]["trainable_parameters"]


@pytest.mark.parametrize("name", ["Llama", "GPT2"])
def test_a_model_gives_the_same_logits(name: str) -> None:
    """GPT-2's layers lie the other way round."""
    model = zoo.make(name).eval()
    inputs = {"input_ids": torch.tensor([[4, 5, 6]])}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = model(**inputs).logits
        store_in_bf16(model, make_head(model, None), "bf16")
        assert torch.equal(model(**inputs).logits, before)
    assert any(p.dtype == torch.bfloat16 for p in model.parameters())


@pytest.mark.parametrize("strategy", ["replay(memory_size=6)+ewc", "gradual_unfreezing"])
def test_what_lets_the_body_learn_is_refused(strategy: str) -> None:
    with pytest.raises(InputError, match=r"--frozen-precision bf16: '.*' lets .*weight learn, and only what"):
        prepared(strategy, **HALF)


def test_it_is_for_runs_in_bf16() -> None:
    with pytest.raises(InputError, match=r"computes in fp32.*; allowed: with --precision bf16"):
        prepared("lora_sequential", precision="fp32", frozen_precision="bf16")
    with pytest.raises(InputError, match="unknown frozen_precision 'fp8'; did you mean 'fp32'"):
        prepared("lora_sequential", precision="bf16", frozen_precision="fp8")


def test_a_kept_model_is_whole(tmp_path: Path) -> None:
    """Other libraries read fp32 from its folder, and it answers as it did."""
    options = {"save_model": "final", "first_tasks": 2}
    for strategy in ("frozen", "lora_sequential"):
        watched(strategy, tmp_path, TOY, **HALF, **options)
    kept = list(tmp_path.rglob("*.safetensors"))
    assert len(kept) >= 2
    assert {value.dtype for path in kept for value in load_file(path).values()} == {torch.float32}
