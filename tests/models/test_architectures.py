"""Fourteen architectures: what their head is, that padding changes nothing, what learns, and every strategy on each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from clbench import plugins
from clbench.config import make_config
from clbench.data import Batch, LabelSpace
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.models import LoadedModel, load_model
from clbench.scenario import Task
from clbench.toolkit import lora, parameter_groups
from clbench.toolkit.frozen_features import logits_and_features
from clbench.toolkit.layers import body_layers, layer_sizes
from tests.helpers import strategy, task_data, watched
from tests.models import zoo

SIZES = {"train": 12, "dev": 3, "test": 6, "tasks": 2}
LABELS = LabelSpace("task", tuple("abcdef"), ((0, 1, 2), (3, 4, 5)))
DENSE = ("dense.bias", "dense.weight")
# The output layer, and what the body's checkpoint lacks beside it.
HEADS: dict[str, tuple[str, list[str]]] = {
    "Bert": ("classifier", []),
    "Roberta": ("classifier.out_proj", [f"classifier.{end}" for end in DENSE]),
    "DistilBert": ("classifier", ["pre_classifier.bias", "pre_classifier.weight"]),
    "Albert": ("classifier", []),
    "Electra": ("classifier.out_proj", [f"classifier.{end}" for end in DENSE]),
    "DebertaV2": ("classifier", [f"pooler.{end}" for end in DENSE]),
    "MPNet": ("classifier.out_proj", [f"classifier.{end}" for end in DENSE]),
    "XLNet": ("logits_proj", ["sequence_summary.summary.bias", "sequence_summary.summary.weight"]),
    "Bart": ("classification_head.out_proj", [f"classification_head.{end}" for end in DENSE]),
    "T5": ("classification_head.out_proj", [f"classification_head.{end}" for end in DENSE]),
    "GPT2": ("score", []),
    "Llama": ("score", []),
    "Qwen2": ("score", []),
    "ModernBert": ("classifier", ["head.dense.weight", "head.norm.weight"]),
}
PROMPTS = ("prompt_tuning", "progressive_prompts")
PREFIXES = ("p_tuning_v2", "prefix_tuning")
# What cannot be done with an architecture, and a part of the line that says so.
REFUSED: dict[tuple[str, str], str] = {
    **{(model, name): "its attention does not read them" for model in ("DistilBert", "Albert", "MPNet")
       for name in PREFIXES},
    **{(model, name): "a text's own tokens alone" for model in ("DebertaV2", "ModernBert")
       for name in PROMPTS + PREFIXES},
    **{("XLNet", name): "it reads padding before a text" for name in PROMPTS + PREFIXES},
    **{(model, name): "in an encoder and in a decoder" for model in ("Bart", "T5") for name in PROMPTS + PREFIXES},
    **{("GPT2", name): "a text's own tokens alone" for name in PROMPTS},
    ("XLNet", "ia3"): "match no layer; allowed: layer_1, layer_2",
    ("XLNet", "student"): "reads padding before a text; allowed: an encoder, which does not",
    **{(model, "bitfit"): "has no biases" for model in ("T5", "Llama", "ModernBert")},
    **{(model, name): "has no dropout modules" for model in ("Llama", "Qwen2") for name in ("dropout", "r_drop")},
}  # fmt: skip


@cache
def tasks() -> list[Task]:
    made: list[Task] = plugins.build("scenario", "toy", SIZES).tasks()
    return made


@cache
def words() -> tuple[str, ...]:
    return tuple(sorted({word for task in tasks() for text in task.train["text"] for word in text.split()}))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an architecture's pretrained body, made when it is first asked for."""
    parent = tmp_path_factory.mktemp("zoo")

    def folder(name: str) -> Path:
        path = parent / name
        return path if path.exists() else zoo.save(name, path, list(words()), headless=True)

    return folder


def load(folder: Path, labels: int = 6, **options: Any) -> LoadedModel:
    given = {"scenario": "toy", "strategy": "naive", "model": str(folder), "max_length": 16, **options}
    return load_model(make_config(given), tasks(), labels, torch.device("cpu"))


def learner_of(loaded: LoadedModel) -> Learner:
    learner = Learner(
        loaded.model, LABELS, padding_id=loaded.tokenizer.pad_token_id, head=loaded.head,
        padding_side=loaded.padding_side, positions=loaded.positions, longest_text=16,
    )  # fmt: skip
    learner.tasks_seen = 2
    return learner


def batch_of(learner: Learner, tokenizer: Any, *texts: str) -> Batch:
    """The first text's label is of task 0, the others' of task 1."""
    rows = [torch.tensor(tokenizer(text)["input_ids"]) for text in texts]
    return learner.collate(
        [{"input_ids": ids, "label": 3 * bool(n), "task_id": int(bool(n))} for n, ids in enumerate(rows)]
    )


def text(count: int, first: int = 0) -> str:
    return " ".join(words()[first : first + count])


@pytest.mark.parametrize("name", HEADS)
def test_the_head_padding_and_what_learns(name: str, folders: Callable[[str], Path]) -> None:
    loaded = load(folders(name))
    learner = learner_of(loaded)
    output, beside = HEADS[name]
    assert loaded.head.output_layer == output
    own = {f"{output}.{n}" for n, _ in learner.output_layer().named_parameters()}
    assert sorted(loaded.head.parameters - own) == beside
    assert learner.output_layer().weight.shape[0] == 6

    # Padding changes neither logits nor features nor the mean of the token states, wherever it must stand.
    learner.model.eval()
    short, long = text(3), text(9, 4)
    with torch.no_grad():
        alone, together = (batch_of(learner, loaded.tokenizer, *texts) for texts in ((short,), (short, long)))
        assert together["attention_mask"][0].min() == 0
        logits, features = learner.logits_and_features(alone)
        padded_logits, padded_features = learner.logits_and_features(together)
        assert torch.allclose(padded_logits[:1], logits, rtol=1e-3, atol=1e-5)
        assert torch.allclose(padded_features[:1], features, rtol=1e-3, atol=1e-5)
        assert torch.allclose(learner.output_layer()(features), logits, rtol=1e-3, atol=1e-5)
        assert not torch.allclose(padded_features[1], padded_features[0], rtol=1e-2)
        means = [logits_and_features(learner, batch, "mean")[1][0] for batch in (alone, together)]
        assert torch.allclose(means[0], means[1], rtol=1e-3, atol=1e-5)

    # The head learns at its own rate, all of it; frozen, nothing else does.
    groups = parameter_groups(learner.named_parameters(), {"body": 1.0, "head": 2.0}, 0.1, learner.head)
    fast = {id(p) for group in groups if group["lr"] == 2.0 for p in group["params"]}
    head = {n: p for n, p in learner.model.named_parameters() if id(p) in fast}
    assert set(head) == loaded.head.parameters
    learner.freeze_body()
    assert {n for n, _ in learner.named_parameters()} == set(head)
    learner.example_losses(learner.logits(together), together).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in head.values())


@pytest.mark.parametrize("name", HEADS)
def test_modules_go_into_the_body_and_the_head_learns_beside_them(name: str, folders: Callable[[str], Path]) -> None:
    loaded = load(folders(name))
    learner = learner_of(loaded)
    layers = body_layers(learner)
    assert layers
    assert not any(learner.is_head(layer) for layer in layers)
    # XLNet's attention has weights without layers; all else goes through one.
    assert all("ff" in layer for layer in layers) is (name == "XLNet")
    for layer in layers.values():
        inputs, outputs = layer_sizes(layer)
        assert layer(torch.zeros(1, 2, inputs)).shape == (1, 2, outputs)
    built = strategy("lora_sequential", learner, rank=2)
    built.before_task(learner, task_data(learner, 0))
    learning = dict(learner.named_parameters())
    original = {learner.head.original(n) for n in learning}
    assert original - {None} == loaded.head.parameters
    assert sum("lora_A" in n for n in learning) == len(layers) == len(lora.lora_layers(learner.model))
    batch = batch_of(learner, loaded.tokenizer, text(3), text(9, 4))
    learner.example_losses(learner.logits(batch), batch).sum().backward()
    assert all(p.grad is not None for p in learning.values())


def run(folder: Path, name: str, output: Path, **options: Any) -> tuple[dict[str, Any], Any]:
    given = {
        "scenario": "toy", "scenario_args": SIZES, "model": str(folder), "epochs": 1, "max_length": 16,
        "batch_size": 4, "device": "cpu", **options,
    }  # fmt: skip
    result, watcher, _ = watched(name, output, given)
    return result, watcher


TELLING = [
    ("Bart", "feature_distillation"), ("Bart", "ranpac"), ("XLNet", "seq_star"), ("XLNet", "replay"),
    ("T5", "l2_anchor"),
    ("GPT2", "lora_merge"), ("GPT2", "adapter"), ("GPT2", "ewc"), ("GPT2", "p_tuning_v2"), ("T5", "ia3"),
    ("ModernBert", "adapter"), ("DistilBert", "prompt_tuning"),
]  # fmt: skip


def check_a_run(name: str, model: str, folder: Path, output: Path) -> None:
    """Either the run is refused with the line that is known, or both tasks are learned and answered."""
    if (model, name) in REFUSED:
        with pytest.raises(InputError) as caught:
            run(folder, name, output)
        assert REFUSED[model, name] in str(caught.value)
        assert "\n" not in str(caught.value)
        return
    result, _ = run(folder, name, output)
    assert result["status"] == "complete"
    # Joint training measures nothing before its end.
    assert all(0 <= cell <= 1 for row in result["accuracy_matrix"] for cell in row if cell is not None)
    assert all(cell is not None for cell in result["accuracy_matrix"][-1])


@pytest.mark.parametrize(("model", "name"), TELLING)
def test_strategies_that_ask_for_parts(model: str, name: str, folders: Callable[[str], Path], tmp_path: Path) -> None:
    check_a_run(name, model, folders(model), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted(path.stem for path in Path(plugins.__file__).parents[2].glob("strategies/*.py"))
)
@pytest.mark.parametrize("model", HEADS)
def test_every_strategy_on_every_architecture(
    model: str, name: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    check_a_run(name, model, folders(model), tmp_path)


@pytest.mark.parametrize("model", ["XLNet", "Bart"])
def test_the_heads_rate_the_body_of_lora_and_frozen(model: str, folders: Callable[[str], Path], tmp_path: Path) -> None:
    """With a rate of 1e-5 the head stays near where it was, with 1.0 it does not; LoRA's and frozen's body stays."""
    head = set(load(folders(model)).head.parameters)
    moved = {}
    for rate in (1e-5, 1.0):
        _, watcher = run(folders(model), "frozen", tmp_path, head_lr=rate, lr=1e-2)
        changes = {n: float((watcher.after[-1][n] - value).abs().max()) for n, value in watcher.start.items()}
        assert {n for n, change in changes.items() if change > 0} == head
        moved[rate] = max(changes.values())
    # Adam moves a weight by the rate a step, and by the fall of the rate about half of it over six steps.
    assert moved[1e-5] < 6e-5
    assert moved[1.0] > 0.5
    _, watcher = run(folders(model), "lora_sequential(rank=2)", tmp_path)
    for n, value in watcher.before[0].items():
        original = load(folders(model)).head.original(n.replace(".base_layer", "")) if "lora_" not in n else None
        same = torch.equal(watcher.after[-1][n], value)
        assert same is (original is not None and original not in head), n
