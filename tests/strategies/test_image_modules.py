"""LoRA, adapters and scales on image models: where they go, what learns, what no other task may move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from clbench.data import Example, TaskData
from clbench.engine import Reporter, engine
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.models.loading import load_model
from clbench.plugins.plan import Plan, make_plan
from clbench.tasks import label_space
from clbench.toolkit.layers import is_plain_convolution, layer_sizes
from clbench.toolkit.lora import lora_layers
from clbench.toolkit.written_examples import examples_as_json, examples_from_json

CPU = torch.device("cpu")
RUN: dict[str, Any] = {
    "scenario": "toy_image", "epochs": 1, "batch_size": 8, "device": "cpu", "precision": "fp32",
    "scenario_args": {"tasks": 2, "train": 24, "dev": 3, "test": 12}, "output_dir": "x",
}  # fmt: skip
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
# Which layers each strategy changes, by the last parts of their names; a ResNet has convolutions only.
LORA = {
    "ViT": {*ATTENTION, "fc1", "fc2"}, "DeiT": {*ATTENTION, "fc1", "fc2"},
    "Swin": {*ATTENTION, "fc1", "fc2", "reduction"}, "timm": {"qkv", "proj", "fc1", "fc2"},
    "vit": {*ATTENTION, "fc1", "fc2"}, "tiny": {"5"}, "mlp(8,2)": {"1", "3"},
    "ResNet": {"convolution"},
}  # fmt: skip
SCALED = {"ViT": {"k_proj", "v_proj", "fc2"}, "Swin": {"k_proj", "v_proj", "fc2"}, "timm": {"qkv", "fc2"}}
ADAPTED = {"ViT": {"o_proj", "fc2"}, "Swin": {"o_proj", "fc2"}, "timm": {"proj", "fc2"}}
CASES = [
    *(("lora_sequential", name, layers) for name, layers in LORA.items()),
    *(("lora_per_task", name, LORA[name]) for name in ("ViT", "timm", "ResNet")),
    *(("ia3", name, layers) for name, layers in SCALED.items()),
    *(("adapter", name, layers) for name, layers in ADAPTED.items()),
]


def set_up(strategy: str, model: str, **options: Any) -> tuple[Plan, Learner]:
    """A strategy set up on a model, nothing trained."""
    plan = make_plan({**RUN, "strategy": strategy, "model": model, **options})
    labels = label_space(plan.tasks, plan.config.setting)
    loaded = load_model(plan.config, plan.tasks, len(labels.names), CPU)
    learner = Learner(loaded.model, labels, kind="image", head=loaded.head)
    plan.strategy.setup(learner)
    plan.strategy.before_task(learner, TaskData(0, "kitchen", labels.columns[0], [], []))
    return plan, learner


@pytest.mark.parametrize(("strategy", "name", "expected"), CASES)
def test_where_modules_go(strategy: str, name: str, expected: set[str], image_folder: Callable[[str], str]) -> None:
    """In every block of the body, and nowhere else; only they and the output layer learn."""
    _, learner = set_up(strategy, image_folder(name))
    if strategy == "adapter":
        places = {n for n, module in learner.model.named_modules() if "own_adapters" in vars(module)}
    else:
        places = {n for n, module in learner.model.named_modules() if hasattr(module, "base_layer")}
    assert {place.rsplit(".", 1)[-1] for place in places} == expected
    assert not any(learner.is_head(place) for place in places)
    learned = {n for n, parameter in learner.model.named_parameters() if parameter.requires_grad}
    own = {n for n in learned if not learner.is_head(n)}
    assert own
    assert learned - own == {n for n, _ in learner.model.named_parameters() if learner.is_head(n)}
    modules = ("lora_", "ia3_", "adapters.")
    assert all(any(module in n for module in modules) for n in own)


@pytest.mark.parametrize("strategy", ["ia3", "adapter"])
def test_a_network_of_convolutions_is_refused_with_what_it_has(
    strategy: str, image_folder: Callable[[str], str]
) -> None:
    with pytest.raises(InputError) as caught:
        set_up(strategy, image_folder("ResNet"))
    line = str(caught.value)
    assert line.startswith(f"{strategy}: ")
    assert line.endswith(
        "match no layer; allowed: linear layers, and this model's body has none, only 6 Conv2d, 6 BatchNorm2d"
    )


@pytest.mark.parametrize("strategy", ["lora_per_task(adaptive_rank=True)", "lora_sequential(init='pissa')"])
def test_what_is_for_linear_layers_only(strategy: str, image_folder: Callable[[str], str]) -> None:
    with pytest.raises(InputError, match=r" is for linear layers, and .*convolution is a convolution; allowed: leave"):
        set_up(strategy, image_folder("ResNet"))


def test_a_convolution_of_groups_and_a_dilated_one_get_no_module() -> None:
    plain = nn.Conv2d(4, 4, 3, stride=2, padding=1)
    assert is_plain_convolution(plain)
    assert layer_sizes(plain) == (4 * 9, 4)
    for other in (nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, dilation=2), nn.Conv3d(4, 4, 3), nn.Linear(4, 4)):
        assert not is_plain_convolution(other)


@pytest.mark.parametrize("strategy", ["lora_sequential", "lora_merge(merge='mean')"])
def test_modules_of_convolutions_can_be_merged_into_them(strategy: str, image_folder: Callable[[str], str]) -> None:
    """What a module adds to the weights W is alpha / rank · B A, as a sum over the rank's channels."""
    _, learner = set_up(strategy, image_folder("ResNet"))
    model: Any = learner.model
    stream = torch.Generator().manual_seed(0)
    layers = lora_layers(learner.model)
    for layer in layers.values():
        (name,) = layer.active_adapters
        a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
        with torch.no_grad():
            b.normal_(std=0.3, generator=stream)
        by_hand = 2.0 * torch.einsum("or,rihw->oihw", b[:, :, 0, 0], a)
        assert torch.allclose(layer.get_delta_weight(name), by_hand, atol=1e-5)
    images = torch.rand(3, 3, 16, 16, generator=stream)
    answers = model.eval()(pixel_values=images).logits
    merged = model.merge_and_unload()
    assert torch.allclose(merged(pixel_values=images).logits, answers, atol=1e-4)


def test_o_lora_pushes_the_channels_of_convolutions_apart(image_folder: Callable[[str], str]) -> None:
    """Against autograd: the penalty is of A as a matrix of (rank, inputs · window)."""
    plan, learner = set_up("o_lora", image_folder("ResNet"))
    labels = learner.labels.columns[1]
    plan.strategy.before_task(learner, TaskData(1, "garden", labels, [], []))
    layers = lora_layers(learner.model).values()
    expected = []
    for layer in layers:
        old, new = (layer.lora_A[name].weight for name in layer.active_adapters)
        new.grad = torch.zeros_like(new)
        penalty = 0.5 * torch.einsum("rihw,sihw->rs", new, old.detach()).square().sum()
        expected.append(torch.autograd.grad(penalty, new)[0])
    plan.strategy.before_step(learner)
    for layer, gradient in zip(layers, expected, strict=True):
        found = layer.lora_A[layer.active_adapters[-1]].weight.grad
        assert torch.allclose(found, gradient, atol=1e-5)
        assert found.abs().max() > 0


def test_names_that_no_layer_has(image_folder: Callable[[str], str]) -> None:
    with pytest.raises(InputError, match=r"match no layer; allowed: fc1, fc2, k_proj, o_proj, q_proj, v_proj$"):
        set_up("lora_sequential(target_modules=('query',))", image_folder("ViT"))


@pytest.mark.parametrize(
    ("strategy", "name"),
    [*((s, "MobileViT") for s in ("lora_per_task(learning_rate=0.02)", "ia3", "adapter")), ("lora_per_task", "ResNet")],
)
def test_nothing_of_a_task_moves_once_it_is_learned(
    strategy: str, name: str, tmp_path: Path, image_folder: Callable[[str], str]
) -> None:
    """A MobileViT has batch normalisation between its linear layers, whose statistics stay as they came."""
    model = image_folder(name)
    plan = make_plan({**RUN, "strategy": strategy, "model": model, "output_dir": str(tmp_path)})
    engine.run(plan, Reporter())
    columns = engine.run_folder(plan.config).read_predictions()
    names = ("after_task", "task", "index", "prediction", "confidence")
    rows = list(zip(*(columns[name] for name in names), strict=True))
    after = {number: [row[1:] for row in rows if row[:2] == (number, "kitchen")] for number in (0, 1, 2)}
    assert after[1] == after[2]
    assert len({row[-1] for row in after[1]}) > len(after[1]) // 2  # the images differ


def test_statistics_that_all_tasks_share_are_refused(image_folder: Callable[[str], str]) -> None:
    model = image_folder("MobileViT")
    for strategy in ("lora_per_task", "ia3", "adapter", "o_lora"):
        with pytest.raises(InputError, match=r"--batch-norm updated moves statistics .* allowed: --batch-norm frozen"):
            set_up(strategy, model, batch_norm="updated")
    for strategy in ("lora_sequential", "adapter(shared=True)"):
        set_up(strategy, model, batch_norm="updated")
    set_up("lora_per_task", image_folder("ViT"), batch_norm="updated")  # it has none


def test_examples_are_written_and_read_to_the_last_bit() -> None:
    stream = torch.Generator().manual_seed(0)
    images = [{"pixel_values": torch.rand(3, 4, 5, generator=stream), "label": 0, "task_id": n} for n in range(3)]
    texts = [{"input_ids": torch.arange(n + 1), "label": 0, "task_id": n} for n in range(3)]
    cases: list[tuple[str, list[Example]]] = [("pixel_values", images), ("input_ids", texts), ("", [])]
    for name, examples in cases:
        again = examples_from_json(examples_as_json(examples))
        assert [e["task_id"] for e in again] == [e["task_id"] for e in examples]
        assert all(torch.equal(one[name], other[name]) for one, other in zip(again, examples, strict=True))
