"""Models: tiny by its seed, a folder in the hub's format, what is refused, and torchvision built for another torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from torch import nn

from clbench import plugins
from clbench.config import make_config
from clbench.errors import InputError
from clbench.models.identity import model_identity
from clbench.models.loading import load_model
from clbench.scenario import Task
from clbench.sources.model_names import ALLOWED, model_path
from tests.helpers import ROOT, Run

CPU = torch.device("cpu")
MODES = "class InterpolationMode:\n    NEAREST = NEAREST_EXACT = BOX = BILINEAR = HAMMING = BICUBIC = LANCZOS = 0\n"


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    made: list[Task] = plugins.build("scenario", "toy", {"train": 30, "dev": 9, "test": 15}).tasks()
    return made


def load(tasks: list[Task], model: str = "tiny", labels: int = 9, **options: Any) -> tuple[Any, Any]:
    config = make_config({"scenario": "toy", "strategy": "naive", "model": model, "max_length": 16, **options})
    loaded = load_model(config, tasks, labels, CPU)
    return loaded.model, loaded.tokenizer


def line_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_tiny_depends_on_the_seed_only(tasks: list[Task]) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, tokenizer = load(tasks)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, tokenizer_again = load(tasks)
    assert same_weights(one, again)
    assert tokenizer.get_vocab() == tokenizer_again.get_vocab()
    assert not same_weights(one, load(tasks, seed=1)[0])


def test_tinys_tokenizer_knows_the_training_words_only(tasks: list[Task]) -> None:
    _, tokenizer = load(tasks)
    words = {word for task in tasks for text in task.train["text"] for word in text.split()}
    assert set(tokenizer.get_vocab()) == words | {"[PAD]", "[UNK]", "[CLS]", "[SEP]"}
    ids = tokenizer("Kitchen nosuchword", truncation=True, max_length=16)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "kitchen", "[UNK]", "[SEP]"]
    assert tokenizer.pad_token_id == 0
    assert len(tokenizer("a " * 99, truncation=True, max_length=7)["input_ids"]) == 7


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_dropout_is_the_configs(tasks: list[Task], dropout: float) -> None:
    model, _ = load(tasks, dropout=dropout)
    rates = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert rates == {dropout}


def test_the_tiny_image_model_by_hand() -> None:
    images: list[Task] = plugins.build("scenario", "digits_seq", {}).tasks()
    config = make_config({"scenario": "digits_seq", "strategy": "naive", "model": "tiny"})
    loaded = load_model(config, images, 10, CPU)
    model, tokenizer = loaded.model, loaded.tokenizer
    assert tokenizer is None
    # 1·16·9+16, 16·32·9+32, 32·4·4·64+64 and 64·10+10 parameters.
    assert sum(p.numel() for p in model.parameters()) == 160 + 4640 + 32832 + 650
    assert model(torch.zeros(3, 1, 8, 8)).logits.shape == (3, 10)
    assert same_weights(model, load_model(config, images, 10, CPU).model)
    assert "reads texts, and this scenario has images; allowed: tiny, mlp(width,depth), " in line_of(
        load_model, config.model_copy(update={"model": "minilm"}), images, 10, CPU
    )


@pytest.fixture(scope="module")
def folder(tasks: list[Task], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with two labels of its own, as transformers saves it."""
    path = tmp_path_factory.mktemp("model") / "mine"
    model, tokenizer = load(tasks, labels=2, seed=7, dropout=0.4)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def copy_of(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / "copy"))


def test_a_folder_in_the_hubs_format(tasks: list[Task], folder: Path) -> None:
    saved, saved_tokenizer = load(tasks, labels=2, seed=7)
    model, tokenizer = load(tasks, str(folder), seed=3)
    body, expected = model.bert.state_dict(), saved.bert.state_dict()
    assert all(torch.equal(body[name], expected[name]) for name in expected)
    assert tokenizer.get_vocab() == saved_tokenizer.get_vocab()
    # The output layer is fresh, whatever the folder's own task was: of nine labels, by the run's seed.
    assert model.classifier.weight.shape == (9, 64)
    assert torch.equal(model.classifier.weight, load(tasks, str(folder), seed=3)[0].classifier.weight)
    assert not torch.equal(model.classifier.weight, load(tasks, str(folder), seed=4)[0].classifier.weight)
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.0}
    assert next(model.parameters()).dtype == torch.float32


def test_the_output_layer_is_fresh_also_when_the_number_of_labels_agrees(tasks: list[Task], folder: Path) -> None:
    weights = [load(tasks, str(folder), labels=2, seed=seed)[0].classifier.weight for seed in (3, 4)]
    assert not torch.equal(weights[0], weights[1])


def test_a_run_with_a_folder(run_toy: Callable[..., Run], folder: Path, tmp_path: Path) -> None:
    result, where = run_toy("naive", tmp_path, model=str(folder), max_length=16)
    assert where.path.name.startswith("mine-s0-")
    assert result["model"] == str(folder)
    assert result["cost"]["trainable_parameters"] > 10_000


def spoil_weights(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)


def test_pickled_weights_are_not_loaded(tasks: list[Task], folder: Path, tmp_path: Path) -> None:
    bad = copy_of(folder, tmp_path)
    (bad / "model.safetensors").unlink()
    torch.save(load(tasks, labels=2)[0].state_dict(), bad / "pytorch_model.bin")
    line = line_of(load, tasks, str(bad))
    assert line.startswith(f"model {str(bad)!r} cannot be loaded: ")
    assert "model.safetensors" in line
    assert line.endswith(ALLOWED)


def test_pickled_weights_are_loaded_when_asked_for(tasks: list[Task], folder: Path, tmp_path: Path) -> None:
    pickled = copy_of(folder, tmp_path)
    (pickled / "model.safetensors").unlink()
    weights = load(tasks, labels=2, seed=7)[0].state_dict()
    torch.save(weights, pickled / "pytorch_model.bin")
    body = load(tasks, str(pickled), allow_pickle=True)[0].bert.state_dict()
    assert all(torch.equal(body[name], weights[f"bert.{name}"]) for name in body)
    before = model_identity(str(pickled))
    torch.save({name: value + 1 for name, value in weights.items()}, pickled / "pytorch_model.bin")
    assert model_identity(str(pickled)) != before


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_cut_weights_are_refused(tasks: list[Task], folder: Path, tmp_path: Path, size: int) -> None:
    bad = copy_of(folder, tmp_path)
    spoil_weights(bad, (folder / "model.safetensors").read_bytes()[:size])
    assert line_of(load, tasks, str(bad)).startswith(f"model {str(bad)!r} cannot be loaded: ")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", '{"model_type": "nosuch"}'),
        ("tokenizer.json", "{}"),
    ],
)
def test_broken_descriptions_are_refused(
    tasks: list[Task], folder: Path, tmp_path: Path, name: str, content: str
) -> None:
    bad = copy_of(folder, tmp_path)
    (bad / name).write_text(content)
    assert line_of(load, tasks, str(bad)).startswith(f"model {str(bad)!r} cannot be loaded: ")


def test_a_folder_without_a_tokenizer_is_refused(tasks: list[Task], folder: Path, tmp_path: Path) -> None:
    """transformers makes an empty tokenizer there, to which every word is unknown."""
    bad = copy_of(folder, tmp_path)
    for path in bad.glob("tokenizer*"):
        path.unlink()
    assert "tokenizer" in line_of(load, tasks, str(bad))


def test_names_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    for name in ("./nosuch", "~/nosuch", str(tmp_path / "nosuch"), "a/b/c"):
        line = line_of(model_path, name)
        assert line == f"model folder {name!r} does not exist; {ALLOWED}"
    assert "holds no config.json; allowed: a folder in transformers' format" in line_of(model_path, str(tmp_path))
    assert model_path("someone/model") == "someone/model"


def test_an_unreachable_hub_id_is_one_line(tasks: list[Task]) -> None:
    line = line_of(load, tasks, "nobody/no-such-model-of-ours")
    assert line.startswith("model 'nobody/no-such-model-of-ours' is no folder here; as a hub id it cannot be loaded: ")


def test_the_identity_follows_config_weights_and_tokenizer(folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path)
    assert model_identity(str(copy)) == model_identity(str(folder))
    with (copy / "config.json").open("a") as file:
        file.write("\n")
    edited = model_identity(str(copy))
    assert edited != model_identity(str(folder))
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    spoil_weights(copy, bytes(content))
    spoilt = model_identity(str(copy))
    assert spoilt not in (edited, model_identity(str(folder)))
    (copy / "tokenizer.json").write_text("{}")
    assert model_identity(str(copy)) not in (edited, spoilt)


def test_a_folder_called_tiny_does_not_hide_the_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert model_identity("tiny") == "tiny"


def make_torchvision(folder: Path) -> None:
    """What a torchvision for another torch does when imported: it refers to an operator that is not there."""
    package = folder / "torchvision"
    (package / "transforms").mkdir(parents=True)
    (package / "__init__.py").write_text(
        dedent(
            """
            import torch

            @torch.library.register_fake("torchvision::nms")
            def meta_nms(dets, scores, iou_threshold):
                return dets

            from torchvision import io, transforms
            """
        )
    )
    (package / "io.py").write_text("")
    (package / "transforms" / "__init__.py").write_text(MODES)
    (package / "transforms" / "functional.py").write_text("pil_to_tensor = None\n")
    information = folder / "torchvision-0.28.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")


@pytest.mark.slow
def test_torchvision_for_another_torch_does_not_matter(tmp_path: Path) -> None:
    """Also where a strategy's file imports peft, which imports transformers, before a model is loaded."""
    make_torchvision(tmp_path)
    program = """
    try:
        import torchvision
    except RuntimeError as error:
        print(error)
    from clbench import engine
    from clbench.plugins import make_plan
    from clbench.engine import Reporter
    for strategy in ("lora_per_task", "naive"):
        sizes = {"train": 6, "dev": 3, "test": 3, "tasks": 2}
        options = {"scenario": "toy", "strategy": strategy, "epochs": 1, "scenario_args": sizes, "device": "cpu"}
        result = engine.run(make_plan({**options, "output_dir": "results"}), Reporter())
        print(result["status"])
    import torchvision
    from transformers import BertConfig, BertForSequenceClassification
    from clbench.models import import_libraries
    import_libraries()
    print(torchvision.transforms.__name__)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", dedent(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = ["operator torchvision::nms does not exist", "complete", "complete", "torchvision.transforms"]
    assert done.stdout.splitlines() == expected
