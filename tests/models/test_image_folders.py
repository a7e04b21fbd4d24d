"""Image classifiers in transformers' and timm's formats, made on the spot: loaded, trained, refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from clbench import plugins
from clbench.config import make_config
from clbench.engine import engine
from clbench.engine.preparation import prepare
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.models.image_folders import load_images, save_own
from clbench.models.image_model import ImageModel
from clbench.models.image_pretrained import read_preprocessing
from clbench.models.loading import load_model
from clbench.models.timm_models import load_body, timm_preprocessing
from clbench.models.vision import make_network
from clbench.plugins.plan import make_plan
from clbench.scenario import Task

CPU = torch.device("cpu")
PROCESSOR = {"size": {"height": 8, "width": 8}, "image_mean": [0.5] * 3, "image_std": [0.25, 0.5, 1.0]}
RUN: dict[str, Any] = {"scenario": "digits_seq", "epochs": 1, "limit": 8, "device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def digits() -> list[Task]:
    made: list[Task] = plugins.build("scenario", "digits_seq", {}).tasks()
    return made


def make_vit(labels: int) -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    return ViTForImageClassification(ViTConfig(**sizes, image_size=8, patch_size=4, num_labels=labels))


def make_resnet(labels: int) -> Any:
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    return ResNetForImageClassification(ResNetConfig(**sizes, num_labels=labels))


MAKERS: dict[str, Callable[[int], Any]] = {"vit": make_vit, "resnet": make_resnet}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny ViT and a tiny ResNet of three labels, with a preprocessor_config.json each."""
    made = {}
    for name, make in MAKERS.items():
        torch.manual_seed(1)
        made[name] = tmp_path_factory.mktemp(name) / name
        make(3).save_pretrained(made[name])
        (made[name] / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return made


def load(tasks: list[Task], model: str, labels: int = 10, **options: Any) -> Any:
    return load_model(
        make_config({"scenario": "x", "strategy": "naive", "model": model, **options}), tasks, labels, CPU
    )


def line_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("name", "head"), [("vit", "network.classifier"), ("resnet", "network.classifier.1")])
@pytest.mark.parametrize("labels", [3, 10])
def test_a_folder_gives_its_body_and_a_fresh_output_layer(
    digits: list[Task], folders: dict[str, Path], name: str, head: str, labels: int
) -> None:
    loaded = load(digits, str(folders[name]), labels)
    assert loaded.head.output_layer == head
    assert loaded.head.parameters == {f"{head}.weight", f"{head}.bias"}
    torch.manual_seed(1)
    saved = MAKERS[name](3).state_dict()
    own = loaded.model.network.state_dict()
    answering = head.removeprefix("network.")
    assert all(torch.equal(own[key], value) for key, value in saved.items() if not key.startswith(answering))
    assert own[f"{answering}.weight"].shape[0] == labels
    if labels == 3:
        assert not torch.equal(own[f"{answering}.weight"], saved[f"{answering}.weight"])
    assert loaded.notes == (f"the output layer that {folders[name]} brings (LABEL_0, LABEL_1, LABEL_2) is made anew",)
    # The answers are those of transformers' own model of images that were prepared by hand.
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    by_hand = (images.expand(2, 3, 8, 8) - 0.5) / torch.tensor([0.25, 0.5, 1.0]).view(3, 1, 1)
    loaded.model.eval()
    with torch.no_grad():
        expected = loaded.model.network(pixel_values=by_hand).logits
        torch.testing.assert_close(loaded.model(images).logits, expected, rtol=1e-5, atol=1e-6)


def test_runs_with_folders(folders: dict[str, Path], tmp_path: Path) -> None:
    for name, folder in folders.items():
        for strategy in ("naive", "replay"):
            options = {**RUN, "model": str(folder), "strategy": strategy, "output_dir": str(tmp_path)}
            result = engine.run(make_plan(options), Reporter())
            assert result["cost"]["trainable_parameters"] == sum(p.numel() for p in MAKERS[name](10).parameters())


@pytest.mark.parametrize("batch_norm", ["frozen", "updated"])
def test_a_run_moves_statistics_only_where_it_is_asked_to(
    folders: dict[str, Path], tmp_path: Path, batch_norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[Any] = []

    def watching(*given: Any) -> Any:
        prepared.append(prepare(*given))
        return prepared[-1]

    monkeypatch.setattr(engine, "prepare", watching)
    options = {**RUN, "model": str(folders["resnet"]), "strategy": "ewc", "batch_norm": batch_norm}
    engine.run(make_plan({**options, "output_dir": str(tmp_path)}), Reporter())
    after = prepared[-1].learner.model.network.state_dict()
    before = load_file(folders["resnet"] / "model.safetensors")
    names = [name for name in after if "running" in name or "tracked" in name]
    moved = [name for name in names if not torch.equal(after[name], before[name])]
    assert len(names) > 6
    assert moved == ([] if batch_norm == "frozen" else names)


def test_preprocessing_as_processors_spell_it() -> None:
    colour = SimpleNamespace(num_channels=3)
    usual = {"image_mean": [0.5] * 3, "image_std": 0.5}
    for spelled, size in (
        ({"size": 7}, (7, 7)),
        ({"size": {"height": 5, "width": 6}}, (5, 6)),
        (
            {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 220}},
            (224, 220),
        ),
        ({"size": {"shortest_edge": 9}, "do_center_crop": False, "crop_size": 4}, (9, 9)),
        ({"do_resize": False}, None),
    ):
        made = read_preprocessing({**usual, **spelled}, colour)
        assert (made.size, made.mean, made.deviation) == (size, (0.5,) * 3, (0.5,) * 3)
    plain = read_preprocessing({"size": 4, "do_normalize": False}, SimpleNamespace(num_channels=1))
    assert (plain.mean, plain.deviation) == ((0.0,), (1.0,))
    # Pixels in 0..255 times 1/127.5, less 1: a pixel of ours is 2 p - 1 before it is normalised.
    offset = {"size": 4, "rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False}
    made = read_preprocessing(offset, SimpleNamespace(num_channels=1))
    assert (0.75 - made.mean[0]) / made.deviation[0] == pytest.approx(0.5)
    wrong: dict[str, Any]
    for wrong in ({}, {"size": {"pixels": 3}}, {"size": 0}, {"size": "8"}):
        with pytest.raises(ValueError, match="gives no size of images"):
            read_preprocessing({**usual, **wrong}, colour)
    for wrong in ({"image_mean": [0.5] * 2}, {"image_mean": None}, {"image_std": ["a"] * 3}):
        with pytest.raises(ValueError, match="has no image_"):
            read_preprocessing({"size": 4, **usual, **wrong}, colour)


def spoil_weights(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


LAYER = "vit.layers.0.mlp.fc1"


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (
            "vit",
            lambda w: w.pop("vit.embeddings.cls_token"),
            "not in the checkpoint, such as vit.embeddings.c",
        ),
        (
            "vit",
            lambda w: w.update({"vit.embeddings.cls_token": torch.zeros(1, 1, 9)}),
            "another size than config",
        ),
        ("resnet", lambda w: w.pop("resnet.embedder.embedder.normalization.running_mean"), "statistics are not in the"),
        (
            "resnet",
            lambda w: w.update({"resnet.encoder.stages.7.layers.0.layer.0.convolution.weight": torch.zeros(1)}),
            "weights of the checkpoint match nothing in the model",
        ),
    ],
)
def test_weights_that_are_not_the_models_are_refused(
    digits: list[Task],
    folders: dict[str, Path],
    tmp_path: Path,
    name: str,
    change: Callable[[dict[str, torch.Tensor]], object],
    said: str,
) -> None:
    copy = Path(shutil.copytree(folders[name], tmp_path / "copy"))
    spoil_weights(copy / "model.safetensors", change)
    line = line_of(load, digits, str(copy))
    assert line.startswith(f"model {str(copy)!r} cannot be loaded: ")
    assert said in line


def test_what_is_no_image_classifier_is_one_line(digits: list[Task], folders: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folders["vit"], tmp_path / "copy"))
    (copy / "preprocessor_config.json").unlink()
    assert "it has no preprocessor_config.json" in line_of(load, digits, str(copy))
    (copy / "preprocessor_config.json").write_text("{}")
    assert "gives no size of images" in line_of(load, digits, str(copy))
    (copy / "config.json").write_text('{"model_type": "bert"}')
    assert f"model {str(copy)!r} reads texts, and this scenario has images; allowed: " in line_of(
        load, digits, str(copy)
    )
    for settings in ('{"model_type": "vit"}', '{"architecture": "resnet10t"}'):
        (copy / "config.json").write_text(settings)
        texts = plugins.build("scenario", "toy", {"train": 30, "dev": 9, "test": 15}).tasks()
        line = line_of(load, texts, str(copy), 9)
        assert line.startswith(
            f"model {str(copy)!r} reads images, and this scenario has texts; allowed: tiny, minilm, "
        )
    assert "--keep-head keeps output layers of models that read texts" in line_of(
        load, digits, str(folders["vit"]), keep_head=True
    )


# timm


def test_weights_in_timms_format_are_loaded_strictly() -> None:
    torch.manual_seed(0)
    saved, model = (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, n)) for n in (5, 3))
    weights = saved.state_dict()
    load_body(model, weights, "2")
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in weights.items() if not name.startswith("2."))
    assert own["2.weight"].shape == (3, 2)
    for spoilt, said in (
        ({name: value for name, value in weights.items() if name != "1.running_var"}, "1 of 7 weights are not in the"),
        ({**weights, "3.weight": weights["1.bias"]}, "1 weights of the checkpoint match nothing in the model"),
        ({**weights, "1.bias": torch.zeros(3)}, "the weights of 1.bias have another size"),
    ):
        with pytest.raises(ValueError, match=said):
            load_body(model, spoilt, "2")


def test_what_timm_says_of_images() -> None:
    said = {"input_size": [3, 16, 12], "mean": [0.1, 0.2, 0.3], "std": (0.5, 0.5, 0.5)}
    made = timm_preprocessing(said)
    assert (made.size, made.mean, made.deviation) == ((16, 12), (0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="has 2 means of 3 channels"):
        timm_preprocessing({**said, "mean": [0.1, 0.2]})


def test_timm_that_is_not_installed_is_one_line(
    digits: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "resnet10t"}')
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    line = line_of(load, digits, str(tmp_path))
    assert "needs timm" in line
    assert line.endswith("pip install 'clbench[timm]'")


def test_a_folder_of_timms(digits: list[Task], tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    arguments = {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8], "stem_width": 4}
    saved = timm.create_model("resnet10t", pretrained=False, num_classes=5, **arguments)
    settings = {
        "architecture": "resnet10t",
        "num_classes": 5,
        "model_args": arguments,
        "pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3},
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    save_file(saved.state_dict(), tmp_path / "model.safetensors")
    for name in (str(tmp_path), f"timm:{tmp_path}"):
        loaded = load(digits, name)
        assert isinstance(loaded.model, ImageModel)
        assert loaded.head.output_layer == "network.fc"
        assert loaded.model.preprocessing.size == (32, 32)
        name = "layer1.0.conv1.weight"
        assert torch.equal(loaded.model.network.state_dict()[name], saved.state_dict()[name])
    assert loaded.model.train()(torch.rand(2, 1, 8, 8)).logits.shape == (2, 10)
    (tmp_path / "model.safetensors").unlink()
    assert "it holds no model.safetensors" in line_of(load, digits, str(tmp_path))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mlp(8,1)", "smallconv", "tiny"])
def test_our_own_networks_are_made_again_from_their_folder(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = make_network(name, (3, 8, 8), 4).eval()
    save_own(model, tmp_path / "base", name, (3, 8, 8), 4)
    again, images = load_images(tmp_path / "base", CPU).eval(), torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again(images).logits, model(images).logits)
