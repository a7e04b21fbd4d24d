"""The model of a run on images: transformers' and timm's image_folder, our own networks, image files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clbench.engine import KeptModel, Reporter, engine
from clbench.models.exporting import export_model
from clbench.plugins.plan import Plan, make_plan
from clbench.results.folder import RunFolder
from tests.engine.test_model_out import by_the_card
from tests.engine.test_model_out_kinds import CPU, TINY, Kept, check_answers
from tests.models import image_zoo

Make = Callable[..., Kept]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, image_folder: Callable[[str], str]) -> Make:
    """``kept(model, strategy, setting)``: a finished run on toy_image with its model; each is made once."""
    output, done = tmp_path_factory.mktemp("kept"), dict[str, Kept]()

    def make(model: str, strategy: str, setting: str = "task") -> Kept:
        if (key := f"{model} {strategy} {setting}") not in done:
            given = {**TINY, "scenario": "toy_image", "model": image_folder(model), "setting": setting}
            plan = make_plan({**given, "strategy": strategy, "output_dir": str(output)})
            engine.run(plan, Reporter())
            done[key] = plan, engine.run_folder(plan.config)
        return done[key]

    return make


def test_networks_that_no_other_library_has_are_kept_with_what_they_became(kept: Make) -> None:
    for model, strategy in (("tiny", "naive"), ("tiny", "o_lora"), ("smallconv", "ewc"), ("mlp(8,1,1)", "slda")):
        _, folder = done = kept(model, strategy)
        check_answers(*done, "strategy")
    card = (folder.model / "README.md").read_text()
    assert "PlainNetwork is no model of transformers'" in card
    assert 'predict FOLDER "image.png"' in card


SHARED, PER_TASK = "lora_sequential(learning_rate=0.02)", "lora_per_task(learning_rate=0.02)"
IMAGE_FORMS = [
    ("ViT", "naive", "task", "model"), ("ResNet", "naive", "class", "model"), ("timm", "naive", "task", "model"),
    ("ViT", "ncm", "class", "model"), ("ResNet", "ranpac(width=8)", "task", "strategy"),
    ("vit(8,1)", SHARED, "task", "adapter"), ("ViT", PER_TASK, "task", "tasks"), ("timm", SHARED, "class", "adapter"),
    ("Swin", PER_TASK, "class", "strategy"), ("ViT", "lora_merge", "class", "model"), ("timm", "ia3", "task", "tasks"),
    ("ViT", "adapter", "task", "strategy"), ("ResNet", "o_lora(learning_rate=0.02)", "task", "adapter"),
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


def our_logits(folder: Path, paths: list[str], task: int | None = None) -> Tensor:
    """What ``predict`` computes of image files, of a task's labels or of all."""
    model = KeptModel(folder, CPU)
    limits = model.deployment.limits
    inputs = [model.kind.read_input(path, "", limits) for path in paths]
    examples = [{**example, "task_id": 0} for example in model.kind.ask(inputs, None, limits)]
    logits = model.logits(model.learner.collate(examples), task)
    return logits if task is not None else logits[:, model.deployment.candidates]


PLAIN = [
    ("ViT", "naive"), ("ResNet", "naive"), ("timm", "naive"), ("ViT", "ncm"), ("vit(8,1)", SHARED), ("ViT", SHARED),
    ("timm", SHARED), ("ResNet", SHARED),
]  # fmt: skip


@pytest.mark.parametrize(("model", "strategy"), PLAIN)
def test_plain_code_gives_the_same_logits(model: str, strategy: str, kept: Make, tmp_path: Path) -> None:
    plan, folder = kept(model, strategy, "class" if strategy == "ncm" else "task")
    paths = files_of(plan, tmp_path)
    expected = our_logits(folder.model, paths)
    assert expected.std(0).min() > 1e-4  # the images differ
    torch.testing.assert_close(by_the_card(folder.model, {"paths": paths}), expected, atol=1e-5, rtol=1e-5)


CUT = [
    ("ViT", "naive", False), ("timm", "naive", False), ("ViT", PER_TASK, False), ("ViT", PER_TASK, True),
    ("timm", SHARED, False), ("timm", SHARED, True), ("timm", "ia3", True), ("ResNet", PER_TASK, True),
]  # fmt: skip


@pytest.mark.parametrize(("model", "strategy", "merge"), CUT)
def test_the_output_layer_is_cut_to_a_task(model: str, strategy: str, merge: bool, kept: Make, tmp_path: Path) -> None:
    plan, folder = kept(model, strategy)
    paths, out = files_of(plan, tmp_path), tmp_path / "out"
    export_model(folder.model, out, plan.tasks[1].name, merge=merge)
    assert (out / "adapter_config.json").exists() == (strategy != "naive" and not merge)
    expected = our_logits(folder.model, paths, 1)[:, 3:]
    torch.testing.assert_close(our_logits(out, paths), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(by_the_card(out, {"paths": paths}), expected, atol=1e-5, rtol=1e-5)


def test_a_folder_is_a_model_again(kept: Make) -> None:
    """What export wrote can be trained on, with the preprocessing that it came with."""
    for model in ("ViT", "timm"):
        _, folder = kept(model, "naive")
        assert RunFolder(folder.path).read_result() is not None
        _, again = kept(str(folder.model), "naive")
        assert KeptModel(again.model, CPU).deployment.form == "model"
        one, other = (json.loads((f.model / "preprocessor_config.json").read_text()) for f in (folder, again))
        assert one == other


def test_the_labels_are_named(kept: Make) -> None:
    plan, vit = kept("ViT", "naive")
    names = [label for task in plan.tasks for label in task.labels]
    assert list(json.loads((vit.model / "config.json").read_text())["id2label"].values()) == names
    _, timm = kept("timm", "naive")
    settings = json.loads((timm.model / "config.json").read_text())
    assert (settings["label_names"], settings["num_classes"], settings["model_args"]) == (names, 6, image_zoo.ARGUMENTS)
