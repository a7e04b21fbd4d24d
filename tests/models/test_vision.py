"""Image models: networks made on the spot, EfficientNet-Lite0, preprocessing and batch normalisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from clbench import plugins
from clbench.config import RunConfig, identity, make_config
from clbench.data import LabelSpace
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.kinds import images_tensor
from clbench.learner import Learner
from clbench.models.efficientnet import EfficientNetLite0, SamePadding, load_efficientnet_lite0, own_name
from clbench.models.hardware import choose_precision
from clbench.models.identity import model_identity
from clbench.models.image_model import ImageModel, Preprocessing
from clbench.models.loading import load_model
from clbench.models.model_kinds import check_kind
from clbench.models.plain_networks import Standardise, make_mlp, make_smallconv
from clbench.models.tiny_vit import make_vit
from clbench.plugins.plan import make_plan
from clbench.scenario import Task
from clbench.sources.model_arguments import canonical_model, split_model_name
from clbench.toolkit import diagonal_fisher
from tests.scenarios.packages import need

CPU = torch.device("cpu")
GREY = Preprocessing((8, 8), (0.5,), (0.25,))
RUN: dict[str, Any] = {"scenario": "digits_seq", "strategy": "naive", "epochs": 1, "limit": 8, "device": "cpu"}


@pytest.fixture(scope="module")
def digits() -> list[Task]:
    made: list[Task] = plugins.build("scenario", "digits_seq", {}).tasks()
    return made


def config(model: str, **options: Any) -> RunConfig:
    return make_config({"scenario": "digits_seq", "strategy": "naive", "model": model, **options})


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def line_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class SmallNormed(nn.Module):
    """A convolution, batch normalisation, and an output layer."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.conv, self.norm, self.classifier = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, labels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.norm(self.conv(images)).mean((2, 3)))
        return logits


# Names


def test_a_model_has_one_name_however_its_arguments_are_written() -> None:
    for text in ("mlp", "mlp()", "mlp(400)", "mlp( 400, 2 )", "mlp(depth=2, width=400)", "mlp(400, depth=2)"):
        assert canonical_model(text) == "mlp(400,2)"
    assert canonical_model("mlp(400,2,standardise=0)") == "mlp(400,2)"  # the name of runs that are kept
    assert canonical_model("mlp(standardise=1)") == "mlp(400,2,1)"
    assert split_model_name("mlp(50,1)") == ("mlp", {"width": 50, "depth": 1, "standardise": 0})
    assert canonical_model("efficientnet_lite0(64)") == "efficientnet_lite0"
    assert canonical_model("efficientnet_lite0(size=96)") == "efficientnet_lite0(96)"
    for other in ("minilm", "owner/mlp(3)", "./mlp(3)", "timm:resnet18"):
        assert canonical_model(other) == other


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mlp(0)", "width = 0; allowed: a whole number from 1 to 100000"),
        ("mlp(True)", "width = True; allowed"),
        ("mlp(width=4.5)", "width = 4.5; allowed"),
        ("mlp(4,", "cannot be read; write mlp(width, depth, standardise), such as mlp(400,2,0)"),
        ("mlp(open)", "cannot be read"),
        ("mlp(4)(5)", "cannot be read"),
        ("mlp(1, 2, 3)", "standardise = 3; allowed: a whole number from 0 to 1"),
        ("mlp(1, 2, 1, 1)", "gives a value too many"),
        ("mlp(width=1, width=2)", "gives a value too many"),
        ("mlp(1, width=2)", "gives a value too many"),
        ("mlp(**{'width': 2})", "unknown argument"),
        ("mlp(widht=3)", "did you mean 'width'?"),
        ("smallconv(3)", "smallconv takes no arguments"),
        ("efficientnet_lite0(4)", "size = 4; allowed: a whole number from 8 to 1024"),
    ],
)
def test_arguments_that_cannot_be_are_one_line(text: str, said: str) -> None:
    assert said in line_of(make_plan, {**RUN, "model": text})


def test_a_model_of_the_wrong_kind_is_refused_before_anything_is_fetched() -> None:
    line = line_of(make_plan, {**RUN, "model": "smollm2"})
    assert line.startswith("model 'smollm2' reads texts, and this scenario has images; allowed: tiny, mlp(width,depth)")
    for model in ("smallconv", "mlp(3,1)", "vit", "efficientnet_lite0", "timm:resnet18.a1_in1k"):
        line = line_of(make_plan, {**RUN, "scenario": "toy", "model": model})
        assert line.startswith(f"model {model!r} reads images, and this scenario has texts; allowed: tiny, minilm, ")
    for kind in ("text", "image"):
        check_kind("tiny", kind)


def test_what_is_made_on_the_spot_is_its_own_identity_and_computes_in_fp32() -> None:
    assert model_identity("mlp(400,2)") == "mlp(400,2)"
    for model in ("tiny", "mlp(400,2)", "smallconv", "vit", "efficientnet_lite0(96)"):
        assert choose_precision("auto", CPU, model) == "fp32"


# Networks


def test_sizes_of_the_vision_transformer_by_hand(digits: list[Task]) -> None:
    """Patches of 2 by 2 of images of 8 by 8 pixels: 16, and the one that answers."""
    width, layers = 8, 2
    patches = (4 * width + width) + width + 17 * width  # projection, the answering token, positions
    attention, block = 4 * (width * width + width), (width * 16 + 16) + (16 * width + width)
    sizes = patches + layers * (attention + block + 2 * 2 * width) + 2 * width + (width * 10 + 10)
    loaded = load_model(config("vit(8,2)"), digits, 10, CPU)
    assert parameters(loaded.model) == sizes
    assert loaded.head.parameters == {"network.classifier.weight", "network.classifier.bias"}
    again = load_model(config("vit(8,2)"), digits, 10, CPU).model
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), again.parameters(), strict=True))


def test_images_that_are_no_multiple_of_a_patch_are_enlarged() -> None:
    made = make_vit((3, 10, 13), 8, 1, 2, 0.25)
    assert made.preprocessing.size == (10, 14)
    assert made(torch.zeros(2, 3, 10, 13)).logits.shape == (2, 2)
    assert {module.p for module in made.modules() if isinstance(module, nn.Dropout)} == {0.25}


def test_sizes_of_the_plain_networks_by_hand(digits: list[Task]) -> None:
    # The MLP of Hsu et al. (2018) on MNIST padded to 32 by 32.
    assert parameters(make_mlp((1, 32, 32), 400, 2, 10)) == (1024 * 400 + 400) + (400 * 400 + 400) + (400 * 10 + 10)
    convolutions = (32 * 9 + 32) + (32 * 32 * 9 + 32) + (64 * 32 * 9 + 64) + (64 * 64 * 9 + 64)
    hidden = 64 * 7 * 7 * 512 + 512  # 28 pixels are 14, then 7
    assert parameters(make_smallconv((1, 28, 28), 10)) == convolutions + hidden + 512 * 10 + 10
    assert make_smallconv((3, 1, 5), 2)(torch.zeros(2, 3, 1, 5)).logits.shape == (2, 2)
    loaded = load_model(config("mlp(5,1)"), digits, 10, CPU)
    assert parameters(loaded.model) == 64 * 5 + 5 + 5 * 10 + 10
    assert loaded.tokenizer is None
    assert loaded.head.parameters == {"classifier.weight", "classifier.bias"}
    again = load_model(config("mlp(5,1)"), digits, 10, CPU).model
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), again.parameters(), strict=True))


def test_pixels_are_standardised_by_all_train_pixels_of_all_tasks(digits: list[Task]) -> None:
    by_hand = Standardise()
    by_hand.fit([torch.tensor([0.0, 1.0]), torch.tensor([[1.0, 1.0]])])  # 1/4 of 0, 3/4 of 1
    assert by_hand.mean.item() == 0.75
    assert by_hand.deviation.item() == pytest.approx((3 / 16) ** 0.5)
    assert by_hand(torch.tensor([0.75])).item() == 0
    by_hand.fit([torch.ones(3)])
    assert (by_hand.mean.item(), by_hand.deviation.item()) == (1.0, 1.0)
    torch.manual_seed(0)
    standardised = load_model(config("mlp(5,1,1)"), digits, 10, CPU)
    torch.manual_seed(0)
    plain = load_model(config("mlp(5,1)"), digits, 10, CPU).model
    pixels = np.concatenate([task.train.with_format("numpy")["image"][:].ravel() for task in digits])
    images = torch.rand(3, 1, 8, 8)
    # The same weights, which are all that is learned, on other numbers.
    assert standardised.head.parameters == {"classifier.weight", "classifier.bias"}
    expected = plain((images - float(pixels.mean())) / float(pixels.std())).logits
    assert torch.allclose(standardised.model(images).logits, expected, atol=1e-5)
    assert parameters(standardised.model) == parameters(plain)


@pytest.mark.slow
def test_padded_mnist_is_standardised_as_by_hsu() -> None:
    need(("mnist",))
    tasks = plugins.build("scenario", "split_mnist", {"pad": True, "dev": 1}).tasks()
    layer = Standardise()
    layer.fit(images_tensor(task.train) for task in tasks)
    assert (round(layer.mean.item(), 4), round(layer.deviation.item(), 4)) == (0.1000, 0.2752)


def test_same_padding_against_a_convolution_worked_by_hand() -> None:
    # Of 4 pixels, stride 2 gives 2 values, which need 5: one zero, and TensorFlow puts it to the right and below.
    rows = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]] * 4]]).squeeze(2)
    summed = nn.functional.conv2d(SamePadding(3, 2)(rows), torch.ones(1, 1, 3, 3), stride=2)
    assert summed.tolist() == [[[[3 * (1 + 2 + 3), 3 * (3 + 4)], [2 * (1 + 2 + 3), 2 * (3 + 4)]]]]
    # Of 5 pixels, stride 2 gives 3 values, which need 7: a zero on each side, as torch has it.
    five = torch.arange(25.0).view(1, 1, 5, 5)
    assert torch.equal(SamePadding(3, 2)(five), nn.functional.pad(five, (1, 1, 1, 1)))
    assert SamePadding(5, 2)(torch.zeros(1, 1, 8, 9)).shape == (1, 1, 8 + 3, 9 + 4)


def test_efficientnet_has_its_papers_size_and_strides() -> None:
    network = EfficientNetLite0(1000).eval()
    assert parameters(network) == 4_652_008
    assert {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    with torch.no_grad():
        images = torch.zeros(1, 3, 33, 64)
        assert network.blocks(network.stem(images)).shape == (1, 320, 2, 2)  # halved five times, rounded up
        assert network(images).logits.shape == (1, 1000)


def as_published(network: EfficientNetLite0) -> dict[str, torch.Tensor]:
    """The weights as the checkpoint names them."""
    table = {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    names = ["_conv_stem.weight", "_conv_head.weight"]
    fields = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names += [f"{norm}.{field}" for norm in ("_bn0", "_bn1") for field in fields]
    for number in range(16):
        convolutions = ("_expand_conv", "_depthwise_conv", "_project_conv")[number == 0 :]
        norms = ("_bn0", "_bn1", "_bn2")[number == 0 :]
        names += [f"_blocks.{number}.{part}.weight" for part in convolutions]
        names += [f"_blocks.{number}.{norm}.{field}" for norm in norms for field in fields]
    state = network.state_dict()
    return {**table, **{name: state[own_name(name)] for name in names}}


def test_a_checkpoint_of_efficientnet_is_loaded_strictly(tmp_path: Path) -> None:
    torch.manual_seed(3)
    saved = EfficientNetLite0(2)
    published, file = as_published(saved), tmp_path / "weights.pth"
    torch.save(published, file)
    loaded = load_efficientnet_lite0(file, 7, 0.1)
    assert loaded.classifier.weight.shape == (7, 1280)
    body = {name: value for name, value in saved.state_dict().items() if not name.startswith("classifier")}
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in body.items())
    assert loaded.dropout.p == 0.1
    for name, change in (("_bn1.weight", None), ("_blocks.3.extra", torch.zeros(1)), ("_bn0.bias", torch.zeros(3))):
        spoilt = {key: value for key, value in published.items() if key != name}
        torch.save(spoilt if change is None else {**spoilt, name: change}, file)
        with pytest.raises(RuntimeError, match=name.rpartition(".")[2]):
            load_efficientnet_lite0(file, 7, 0.0)


# What is done to images


def test_preprocessing_by_hand_and_against_pillow() -> None:
    model = ImageModel(nn.Identity(), GREY)
    same = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 1, 8, 8)
    assert model.prepare(same)[:, 0, 0, 0].tolist() == [-2.0, 0.0, 2.0]
    # Grey becomes as many channels as there are means.
    colour = ImageModel(nn.Identity(), Preprocessing(None, (0.0, 0.5, 1.0), (1.0, 0.5, 2.0)))
    assert colour.prepare(torch.ones(1, 1, 2, 2))[0, :, 0, 0].tolist() == [1.0, 1.0, 0.0]
    for size in ((5, 7), (24, 20)):  # smaller, with the antialiasing of Pillow's, and larger
        pixels = np.random.default_rng(0).random((16, 12), dtype=np.float32)
        expected = np.array(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR))
        made = ImageModel(nn.Identity(), Preprocessing(size, (0.0,), (1.0,))).prepare(torch.tensor(pixels)[None, None])
        assert np.abs(made[0, 0].numpy() - expected).max() < 1e-5


def test_channels_that_a_network_does_not_read_are_refused() -> None:
    Preprocessing(None, (0.0,) * 3, (1.0,) * 3).check((1, 8, 8))
    with pytest.raises(ValueError, match=r"reads images of 3 channels, and the scenario's have 4; allowed: 1 \(grey\)"):
        Preprocessing(None, (0.0,) * 3, (1.0,) * 3).check((4, 8, 8))
    with pytest.raises(ValueError, match="reads images of 1 channels, and the scenario's have 3"):
        GREY.check((3, 8, 8))


def test_depthwise_networks_read_channels_last_and_the_layout_changes_no_answer() -> None:
    torch.manual_seed(0)
    model = ImageModel(EfficientNetLite0(3), Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3)).eval()
    images = torch.rand(2, 1, 8, 8)
    assert model.prepare(images).is_contiguous(memory_format=torch.channels_last)
    assert all(p.is_contiguous() for p in model.parameters())
    with torch.no_grad():
        last = model(images).logits
        model.layout = torch.contiguous_format
        assert model.prepare(images).is_contiguous()
        torch.testing.assert_close(model(images).logits, last, rtol=1e-4, atol=1e-5)


# Batch normalisation


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: b.clone() for n, b in model.named_buffers() if "running" in n or "tracked" in n}


def learner_of(model: nn.Module) -> Learner:
    return Learner(model, LabelSpace("task", ("a", "b"), ((0, 1),)))


@pytest.mark.parametrize("batch_norm", ["frozen", "updated"])
def test_the_fisher_pass_never_moves_statistics(batch_norm: str) -> None:
    torch.manual_seed(0)
    model = ImageModel(SmallNormed(2), GREY, batch_norm).train()
    learner = learner_of(model)
    learner.tasks_seen = 1
    examples = [{"pixel_values": torch.rand(1, 8, 8), "label": n % 2, "task_id": 0} for n in range(6)]
    before = statistics(model)
    fisher = diagonal_fisher(learner, examples, "empirical", torch.Generator().manual_seed(0))
    assert all(torch.equal(value, statistics(model)[name]) for name, value in before.items())
    assert model.training
    assert float(fisher["network.norm.weight"].abs().sum()) > 0
    assert model.network.get_submodule("norm").training == (batch_norm == "updated")
    # One pass in train mode moves them where they are updated, and only there.
    learner.logits(learner.collate(examples))
    moved = [not torch.equal(value, statistics(model)[name]) for name, value in before.items()]
    assert all(moved) if batch_norm == "updated" else not any(moved)


def test_how_batch_normalisation_is_done_is_part_of_what_a_run_is() -> None:
    before = {**config("smallconv").model_dump(), "clbench": "1"}
    without = {key: value for key, value in before.items() if key != "batch_norm"}
    assert identity(before) == identity(without)
    assert identity({**before, "batch_norm": "updated"}) != identity(before)
    assert "batch_norm" in line_of(make_config, {**RUN, "batch_norm": "froze"})


def test_runs_of_the_plain_networks(tmp_path: Path) -> None:
    for model in ("mlp(20,1)", "smallconv"):
        plan = make_plan({**RUN, "model": model, "output_dir": str(tmp_path), "strategy": "replay"})
        result = engine.run(plan, Reporter())
        assert result["model"] == model
        assert len(result["accuracy_matrix"]) == 6
    assert (tmp_path / "digits_seq" / "replay").glob("mlp(20,1)-s0-*")


def test_images_of_one_shape_are_enough(digits: list[Task]) -> None:
    """The networks read colour images, too."""
    colour = datasets.Dataset.from_dict({"image": np.zeros((2, 3, 6, 5)).tolist(), "label": [0, 1]})
    tasks = [replace(digits[0], train=colour, dev=colour, test=colour)]
    for model in ("tiny", "mlp(4,1)", "smallconv", "vit(8,1)"):
        loaded = load_model(config(model), tasks, 2, CPU)
        assert loaded.model(torch.zeros(2, 3, 6, 5)).logits.shape == (2, 2)
