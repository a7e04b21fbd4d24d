"""The model of a run on images: transformers' and timm's folders, our own networks, image files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from clbench.engine import KeptModel, Reporter, engine
from clbench.models import survive_torchvision
from clbench.models.exporting import export_model
from clbench.plugins.plan import Plan, make_plan
from clbench.results.folder import RunFolder
from tests.engine.test_model_out import by_the_card
from tests.engine.test_model_out_kinds import CPU, TINY, Kept, check_answers

PROCESSOR = {"size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3, "image_std": [0.25, 0.5, 1.0]}
ARGUMENTS: dict[str, Any] = {"embed_dim": 8, "depth": 2, "num_heads": 2, "img_size": 16, "patch_size": 4}
TIMM: dict[str, Any] = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 5,
    "model_args": ARGUMENTS,
    "pretrained_cfg": {"input_size": [3, 16, 16], "mean": [0.5] * 3, "std": [0.25] * 3},
}
Make = Callable[..., Kept]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny ViT and a tiny ResNet in transformers' format and a ViT in timm's, for images of 16 by 16 pixels."""
    from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

    made = {name: tmp_path_factory.mktemp(name) / name for name in ("vit", "resnet", "timm")}
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 12,
    }
    ViTForImageClassification(ViTConfig(**sizes, image_size=16, patch_size=4)).save_pretrained(made["vit"])
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    ResNetForImageClassification(ResNetConfig(**sizes)).save_pretrained(made["resnet"])
    for name in ("vit", "resnet"):
        (made[name] / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    survive_torchvision()
    timm = pytest.importorskip("timm")
    network = timm.create_model(TIMM["architecture"], num_classes=5, **ARGUMENTS)
    made["timm"].mkdir()
    save_file(network.state_dict(), made["timm"] / "model.safetensors")
    (made["timm"] / "config.json").write_text(json.dumps(TIMM))
    return {name: str(folder) for name, folder in made.items()}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, str]) -> Make:
    """``kept(model, strategy, setting)``: a finished run on toy_image with its model; each is made once."""
    output, done = tmp_path_factory.mktemp("kept"), dict[str, Kept]()

    def make(model: str, strategy: str, setting: str = "task") -> Kept:
        if (key := f"{model} {strategy} {setting}") not in done:
            given = {**TINY, "scenario": "toy_image", "model": folders.get(model, model), "setting": setting}
            plan = make_plan({**given, "strategy": strategy, "output_dir": str(output)})
            engine.run(plan, Reporter())
            done[key] = plan, engine.run_folder(plan.config)
        return done[key]

    return make


def test_networks_that_no_other_library_has_are_kept_with_what_they_became(kept: Make) -> None:
    for model, strategy in (("tiny", "naive"), ("mlp(8,1)", "slda"), ("smallconv", "ewc")):
        _, folder = done = kept(model, strategy)
        check_answers(*done, "strategy")
    card = (folder.model / "README.md").read_text()
    assert "PlainNetwork is no model of transformers'" in card
    assert 'predict FOLDER "image.png"' in card


IMAGE_FORMS = [
    ("vit", "naive", "task", "model"), ("resnet", "naive", "class", "model"), ("vit", "ncm", "class", "model"),
    ("resnet", "ranpac(width=8)", "task", "strategy"), ("timm", "naive", "task", "model"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "strategy", "setting", "form"), IMAGE_FORMS)
def test_labels_are_those_of_the_run(model: str, strategy: str, setting: str, form: str, kept: Make) -> None:
    check_answers(*kept(model, strategy, setting), form)


def files_of(plan: Plan, place: Path) -> list[str]:
    """Test images in 8 bits of grey."""
    paths = []
    for number, image in enumerate(np.asarray(plan.tasks[1].test["image"][:5])):
        paths.append(str(place / f"{number}.png"))
        Image.fromarray((image[0] * 255).round().astype("uint8")).save(paths[-1])
    return paths


def our_logits(folder: Path, paths: list[str]) -> Tensor:
    """What ``predict`` computes of image files."""
    model = KeptModel(folder, CPU)
    limits = model.deployment.limits
    inputs = [model.kind.read_input(path, "", limits) for path in paths]
    examples = [{**example, "task_id": 0} for example in model.kind.ask(inputs, None, limits)]
    logits = model.logits(model.learner.collate(examples), None)
    return logits[:, model.deployment.candidates]


PLAIN = [("vit", "naive"), ("resnet", "naive"), ("timm", "naive"), ("vit", "ncm")]


@pytest.mark.parametrize(("model", "strategy"), PLAIN)
def test_plain_code_gives_the_same_logits(model: str, strategy: str, kept: Make, tmp_path: Path) -> None:
    plan, folder = kept(model, strategy, "class" if strategy == "ncm" else "task")
    paths = files_of(plan, tmp_path)
    expected = our_logits(folder.model, paths)
    assert expected.std(0).min() > 1e-4  # the images differ
    torch.testing.assert_close(by_the_card(folder.model, {"paths": paths}), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model", ["vit", "timm"])
def test_the_output_layer_is_cut_to_a_task(model: str, kept: Make, tmp_path: Path) -> None:
    plan, folder = kept(model, "naive")
    paths, out = files_of(plan, tmp_path), tmp_path / "out"
    export_model(folder.model, out, plan.tasks[1].name)
    expected = our_logits(folder.model, paths)[:, 3:]
    torch.testing.assert_close(our_logits(out, paths), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(by_the_card(out, {"paths": paths}), expected, atol=1e-5, rtol=1e-5)


def test_a_folder_is_a_model_again(kept: Make) -> None:
    """What export wrote can be trained on, with the preprocessing that it came with."""
    for model in ("vit", "timm"):
        _, folder = kept(model, "naive")
        assert RunFolder(folder.path).read_result() is not None
        _, again = kept(str(folder.model), "naive")
        assert KeptModel(again.model, CPU).deployment.form == "model"
        one, other = (json.loads((f.model / "preprocessor_config.json").read_text()) for f in (folder, again))
        assert one == other


def test_the_labels_are_named(kept: Make) -> None:
    plan, vit = kept("vit", "naive")
    names = [label for task in plan.tasks for label in task.labels]
    assert list(json.loads((vit.model / "config.json").read_text())["id2label"].values()) == names
    _, timm = kept("timm", "naive")
    settings = json.loads((timm.model / "config.json").read_text())
    assert (settings["label_names"], settings["num_classes"], settings["model_args"]) == (names, 6, ARGUMENTS)
