"""Layers are found by a model's own structure, whatever it calls them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from torch import nn

from clbench.data import LabelSpace
from clbench.learner import Learner
from clbench.models.plain_networks import make_mlp
from clbench.models.tiny import SmallConvNet
from clbench.toolkit import layer_depths, layer_names, lora, split_groups
from tests.helpers import MakeLearner
from tests.models import zoo

LABELS = LabelSpace("task", ("a", "b", "c"), ((0, 1, 2),))
SHARED = ("Albert",)  # one layer, passed several times


@pytest.mark.parametrize("name", zoo.SETTINGS)
def test_every_architecture_has_embeddings_two_layers_and_a_head(name: str) -> None:
    learner = Learner(zoo.make(name), LABELS)
    layers = layer_names(learner)
    assert len(layers) == (1 if name in SHARED else 2)
    found = layer_depths(learner)
    assert set(found) == {n for n, _ in learner.model.named_parameters()}
    counts = Counter(found.values())
    assert set(counts) == set(range(len(layers) + 2))
    for parameter, depth in found.items():
        assert (depth == len(layers) + 1) == learner.is_head(parameter)
        for number, layer in enumerate(layers, start=1):
            if parameter.startswith(f"{layer}."):
                assert depth == number
    model: Any = learner.model
    words = model.get_input_embeddings()
    names = [n for n, m in learner.model.named_modules() if m is words]
    assert found[f"{names[0]}.weight"] == 0


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        (make_mlp((1, 4, 4), 8, 3, 3), ["body.1", "body.3", "body.5"]),
        (SmallConvNet(1, 8, 8, 3), ["body.0", "body.2", "body.5"]),
    ],
)
def test_in_a_chain_of_modules_those_with_weights_are_layers(network: nn.Module, layers: list[str]) -> None:
    learner = Learner(network, LABELS)
    assert layer_names(learner) == layers
    assert sorted(set(layer_depths(learner).values())) == [1, 2, 3, 4]


def test_timm_and_vision_models_have_their_stages() -> None:
    import timm

    from clbench.models.efficientnet import EfficientNetLite0

    learner = Learner(timm.create_model("resnet10t", num_classes=3), LABELS)
    layers = layer_names(learner)
    assert layers == ["conv1", "layer1.0", "layer2.0", "layer3.0", "layer4.0"]
    assert (layer_depths(learner)["fc.weight"], layer_depths(learner)["bn1.weight"]) == (6, 1)
    lite = Learner(EfficientNetLite0(3), LABELS)
    first, *blocks, last = layer_names(lite)
    assert (first, last) == ("stem", "top")
    assert len(blocks) == 16
    assert all(block.startswith("blocks.") for block in blocks)


def test_a_module_that_peft_adds_lies_in_its_layer(make_learner: MakeLearner) -> None:
    learner = make_learner()
    lora.add_modules(learner, ["mine"], lambda: lora.lora_settings(["query"], 2, 4.0))
    found = layer_depths(learner)
    of_module = {depth for name, depth in found.items() if ".lora_A." in name}
    assert of_module == {1, 2}


def test_groups_are_split_by_what_each_parameter_gets(make_learner: MakeLearner) -> None:
    learner = make_learner()
    depth = layer_depths(learner)
    everything = [p for _, p in learner.named_parameters()]
    groups: list[dict[str, Any]] = [{"params": everything[:10], "lr": 1.0}, {"params": everything[10:], "lr": 5.0}]
    split = split_groups(learner, groups, lambda name, group: {**group, "lr": group["lr"] * depth[name]})
    rates = {id(p): group["lr"] for group in split for p in group["params"]}
    assert len(rates) == len(everything) == sum(len(group["params"]) for group in split)
    for number, (name, parameter) in enumerate(learner.named_parameters()):
        assert rates[id(parameter)] == depth[name] * (1.0 if number < 10 else 5.0)
    assert len(split) == 2 + 3  # depths 0 and 1 stand among the first ten, 1, 2 and 3 after them
