"""Gradient checkpointing: every layer is computed again, nothing of the result changes, and who cannot is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench import plugins
from clbench.clock import Clock
from clbench.config import identity, make_config
from clbench.engine.preparation import Prepared, prepare
from clbench.errors import InputError
from clbench.models import import_libraries
from clbench.models.loading import load_model
from clbench.models.recomputation import recompute_activations, recomputes_activations
from clbench.models.tiny_vit import make_vit
from clbench.plugins.plan import make_plan
from clbench.toolkit.fisher import diagonal_fisher
from tests.conftest import TOY, tiny_bert
from tests.helpers import slow, watched

CPU = torch.device("cpu")
CHECKPOINTED = {"gradient_checkpointing": True}


def prepared(strategy: str, **options: Any) -> Prepared:
    return prepare(make_plan({"model": "tiny", "precision": "fp32", **TOY, **options, "strategy": strategy}), Clock())


def tiny_llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
    return LlamaForCausalLM(LlamaConfig(vocab_size=30, attention_dropout=0.1, attn_implementation="eager", **sizes))


def counted(model: nn.Module, name: str) -> list[int]:
    """A number that grows with every pass that begins in the module whose name ends with ``name``."""
    calls = [0]

    def count(*_: object) -> None:
        calls[0] += 1

    next(module for key, module in model.named_modules() if key.endswith(name)).register_forward_pre_hook(count)
    return calls


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("strategy", "dropout"),
    [
        *(slow("naive", 0.0), slow("naive", 0.1), slow("replay(memory_size=6)+ewc", 0.0)),
        *(("replay(memory_size=6)+ewc", 0.1), slow("lora_sequential", 0.0), slow("lora_sequential", 0.1)),
        *(slow("distillation", 0.1), slow("r_drop", 0.1), slow("adapter", 0.1), slow("ensemble(members=2)", 0.1)),
    ],
)
def test_a_run_ends_with_the_same_bits(strategy: str, dropout: float, tmp_path: Path) -> None:
    options = {"dropout": dropout, "precision": "fp32", "first_tasks": 2}
    plain, weights, _ = watched(strategy, tmp_path / "plain", TOY, **options)
    again, weights_again, _ = watched(strategy, tmp_path / "again", TOY, **options, **CHECKPOINTED)
    assert again["accuracy_matrix"] == plain["accuracy_matrix"]
    assert again["predictions_sha256"] == plain["predictions_sha256"]
    for one, other in zip(weights.after, weights_again.after, strict=True):
        assert same(one, other)
    assert not same(weights.after[-1], weights.start)


def gradients(model: nn.Module, **inputs: Tensor) -> dict[str, Tensor]:
    """Of one step in training mode, from the same random numbers each time."""
    torch.manual_seed(3)
    model.train().zero_grad()
    model(**inputs).logits.square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


TEXTS = {"input_ids": torch.tensor([[4, 5, 6], [7, 8, 9]]), "attention_mask": torch.ones(2, 3, dtype=torch.int64)}
PIXELS = {"pixel_values": torch.linspace(0, 1, 128).view(2, 1, 8, 8)}


@pytest.mark.parametrize(
    ("make", "inputs", "layer"),
    [
        (lambda: tiny_bert(3, dropout=0.1), TEXTS, "layer.1.intermediate.dense"),
        (lambda: tiny_llama(), TEXTS, "layers.1.mlp"),
        (lambda: make_vit((1, 8, 8), 8, 2, labels=3, dropout=0.1), PIXELS, "layers.1.mlp.fc1"),
    ],
)
def test_a_layer_is_computed_twice_a_step_and_once_otherwise(make: Any, inputs: Any, layer: str) -> None:
    """The second time it draws the numbers of the first for its dropout."""
    import_libraries()
    model = make()
    calls = counted(model, layer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = gradients(model, **inputs)
        recompute_activations(model, "mine")
        again = gradients(model, **inputs)
    assert same(plain, again)
    assert calls[0] == 1 + 2
    model.eval()(**inputs).logits.sum().backward()
    assert calls[0] == 1 + 2 + 1


@pytest.mark.parametrize("strategy", [slow("naive"), "lora_sequential"])
def test_the_fisher_information_is_the_same(strategy: str) -> None:
    found = []
    for more in ({}, CHECKPOINTED):
        made = prepared(strategy, **more)
        made.learner.tasks_seen = 1
        stream = torch.Generator().manual_seed(0)
        found.append(diagonal_fisher(made.learner, made.tasks[0].train[:5], "sampled", stream))
    assert same(*found)
    assert any(value.any() for value in found[0].values())


def test_a_decoder_keeps_no_keys_and_values_in_training_and_still_writes_with_them() -> None:
    model: Any = tiny_llama()
    recompute_activations(model, "mine")
    asked: list[Any] = []
    model.base_model.register_forward_pre_hook(
        lambda _, __, named: asked.append(named.get("use_cache")), with_kwargs=True
    )
    # As PEFT calls it, past the hooks of the whole.
    kept = [model.train(training).forward(**TEXTS).past_key_values for training in (True, False)]
    assert kept[0] is None
    assert asked == [False, None]  # else transformers would drop the cache by itself, and warn
    assert kept[1].get_seq_length() == 3
    assert model.config.use_cache is True  # what is saved says nothing of how it was trained


@pytest.fixture(scope="module")
def digits() -> Any:
    return plugins.build("scenario", "digits_seq", {}).tasks()[:1]


def load(model: str, tasks: Any, **options: Any) -> Any:
    return load_model(make_config({"scenario": "x", "strategy": "naive", "model": model, **options}), tasks, 10, CPU)


@pytest.mark.parametrize("model", ["tiny", "mlp", "smallconv"])
def test_a_model_that_cannot_is_refused_before_training(model: str, digits: Any) -> None:
    with pytest.raises(InputError, match=rf"--gradient-checkpointing: model '{model}' \(\w+\) cannot compute its lay"):
        load(model, digits, **CHECKPOINTED)


def test_keys_and_values_before_the_text_are_refused() -> None:
    prepared("prefix_tuning")
    with pytest.raises(InputError, match="--gradient-checkpointing: a layer that is computed again reads no keys"):
        prepared("prefix_tuning", **CHECKPOINTED)


def timm_folder(path: Path, architecture: str, **arguments: Any) -> str:
    """A folder with a model of timm's, random weights."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=3, **arguments)
    path.mkdir()
    pretrained = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3}
    settings = {"architecture": architecture, "num_classes": 3, "model_args": arguments, "pretrained_cfg": pretrained}
    (path / "config.json").write_text(json.dumps(settings))
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path / "model.safetensors")
    return str(path)


@pytest.fixture
def timm_vit(tmp_path: Path) -> str:
    pytest.importorskip("timm")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return timm_folder(tmp_path / "vit", "vit_tiny_patch16_224", **sizes)


@pytest.mark.slow
def test_a_network_of_timm_does_so_in_training_alone(timm_vit: str, digits: Any) -> None:
    found = []
    for more in ({}, CHECKPOINTED):
        model = load(timm_vit, digits, **more).model
        calls = counted(model, "blocks.1.mlp.fc1")
        found.append(gradients(model, **PIXELS))
        assert calls[0] == (2 if more else 1)
        model.eval()(**PIXELS).logits.sum().backward()
        assert calls[0] == (3 if more else 2)
        assert recomputes_activations(model) == bool(more)
    assert same(*found)


@pytest.mark.slow
def test_statistics_that_would_move_twice_are_refused(tmp_path: Path, digits: Any) -> None:
    pytest.importorskip("timm")
    folder = timm_folder(tmp_path / "resnet", "resnet10t")
    load(folder, digits, **CHECKPOINTED)
    with pytest.raises(InputError, match="would move its statistics twice; allowed: --batch-norm frozen"):
        load(folder, digits, batch_norm="updated", **CHECKPOINTED)


def test_it_is_part_of_what_a_run_is() -> None:
    before = make_config(dict(TOY, strategy="naive")).model_dump()
    without = {key: value for key, value in before.items() if key != "gradient_checkpointing"}
    assert identity(without) == identity(before)
    assert identity({**before, **CHECKPOINTED}) != identity(before)
