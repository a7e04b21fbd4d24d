"""No file of a model, in a folder or in the hub's cache, makes clbench load a pickle or another model unasked."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from clbench.models.identity import model_identity
from clbench.models.safe_weights import INDEX, check_weight_files
from tests.models.test_architectures import load
from tests.models.test_checkpoints import edit, line_of, saved

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def write_index(folder: Path, *files: str) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict(enumerate(files))}))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of someone/model in the hub's cache, a small BERT."""
    place = tmp_path / "hub" / "models--someone--model"
    snapshot = place / "snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    shutil.move(saved(tmp_path, "Bert"), snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    # HF_HOME and HF_HUB_OFFLINE are read when the library is imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return snapshot


def poison(folder: Path, marker: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(marker)))
    (folder / "model.safetensors").unlink()


@pytest.mark.usefixtures("hub")
def test_a_hub_id_in_the_cache_is_loaded() -> None:
    assert model_identity("someone/model") == f"someone/model@{COMMIT}"
    check_weight_files("someone/model", False)
    assert load(Path("someone/model")).model.config.model_type == "bert"


@pytest.mark.parametrize("name", ["folder", "someone/model"])
def test_an_index_that_names_a_pickle_is_refused(name: str, hub: Path, tmp_path: Path) -> None:
    poison(hub, tmp_path / "marker")
    write_index(hub, "one.safetensors", "pytorch_model.bin")
    path = str(hub) if name == "folder" else name
    assert f"{INDEX} names pytorch_model.bin, which is not safetensors; see --allow-pickle" in line_of(load, path)
    assert not (tmp_path / "marker").exists()
    check_weight_files(path, True)


@pytest.mark.parametrize("name", ["folder", "someone/model"])
def test_so_is_a_configuration_that_does(name: str, hub: Path, tmp_path: Path) -> None:
    poison(hub, tmp_path / "marker")
    edit(hub, transformers_weights="pytorch_model.bin")
    path = str(hub) if name == "folder" else name
    assert "config.json names pytorch_model.bin, which is not safetensors" in line_of(load, path)
    assert not (tmp_path / "marker").exists()


def test_an_index_of_another_name_is_looked_at_where_it_is_used(hub: Path) -> None:
    edit(hub, transformers_weights="x.safetensors.index.json")
    write_index(hub, "one.bin")
    (hub / INDEX).rename(hub / "x.safetensors.index.json")
    with pytest.raises(ValueError, match=r"x\.safetensors\.index\.json names one\.bin"):
        check_weight_files(str(hub), False)
    write_index(hub, "model.safetensors")
    (hub / INDEX).rename(hub / "x.safetensors.index.json")
    check_weight_files(str(hub), False)
    (hub / INDEX).write_text("[]")
    with pytest.raises(ValueError, match="holds no weight_map"):
        check_weight_files(str(hub), False)


@pytest.mark.parametrize("name", ["folder", "someone/model"])
def test_an_adapter_leads_to_no_other_model(name: str, hub: Path) -> None:
    (hub / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "elsewhere/model"}))
    line = line_of(load, str(hub) if name == "folder" else name)
    assert "it is an adapter (adapter_config.json), which loads another model; merge it into that first" in line


def test_whatever_lies_in_a_model_folder_is_one_line_or_passed_over(tmp_path: Path) -> None:
    folder = saved(tmp_path, "Bert")
    before = model_identity(str(folder))
    os.mkfifo(folder / "added_tokens.json")
    (folder / "special.txt").mkdir()
    (folder / "other.json").symlink_to(tmp_path / "nowhere")
    assert model_identity(str(folder)) == before
    assert load(folder).model.config.model_type == "bert"
    for name, reason in (("vocab.txt", "larger than 1024 MiB"), ("model.safetensors", "header")):
        kept = (folder / name).read_bytes() if (folder / name).exists() else None
        with (folder / name).open("wb") as file:
            file.truncate(20 * 10**9)
        line = line_of(model_identity, str(folder))
        assert f"cannot be loaded: {name}" in line
        assert reason in line
        (folder / name).unlink()
        if kept is not None:
            (folder / name).write_bytes(kept)
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert "holds no config.json" in line_of(model_identity, str(folder))
