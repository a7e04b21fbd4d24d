"""Checkpoints: what comes back, every kind of damage refused by name, the previous one kept until the new is whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import clbench
from clbench.engine.checkpoint import (
    MANIFEST,
    TENSORS,
    VALUES,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
    take_snapshot,
    tensor_bytes,
)
from clbench.errors import InputError

HASH = "0123abcd"


def nested() -> dict[str, Any]:
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    return {
        "numbers": [1, -2.5, None, True, "text ü \n", [], {}],
        "weights": {"a.b": base, "view of the same": base[1], "transposed": base.T, "scalar": torch.tensor(7)},
        "list": [torch.zeros(0), {"deep": [torch.tensor([True, False])]}],
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "bytes": torch.Generator().manual_seed(3).get_state(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }


def assert_equal(found: Any, expected: Any) -> None:
    assert isinstance(found, torch.Tensor) == isinstance(expected, torch.Tensor)
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected.detach())
        assert not found.requires_grad
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_equal(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == expected
        assert type(found) is type(expected)


def test_a_nested_state_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoint"
    save_checkpoint(folder, nested(), HASH)
    assert_equal(load_checkpoint(folder, HASH), nested())
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["run", "checkpoint", TENSORS, VALUES, MANIFEST])


def test_a_state_without_tensors_comes_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", {"a": {}}, HASH)
    assert load_checkpoint(tmp_path / "checkpoint", HASH) == {"a": {}}


def test_what_is_saved_does_not_change_with_the_live_tensor(tmp_path: Path) -> None:
    live = torch.ones(3)
    save_checkpoint(tmp_path / "checkpoint", {"a": live}, HASH)
    live.zero_()
    loaded = load_checkpoint(tmp_path / "checkpoint", HASH)
    assert loaded is not None
    assert loaded["a"].tolist() == [1, 1, 1]


def test_equal_tensors_are_written_once_and_come_back_apart(tmp_path: Path) -> None:
    folder, same, minus = tmp_path / "checkpoint", torch.tensor([0.0, 2.0]), torch.tensor([-0.0, 2.0])
    shaped, typed = same.reshape(2, 1), same.view(torch.int32)
    save_checkpoint(folder, {"a": same, "b": [same.clone(), minus], "c": shaped, "d": typed}, HASH)
    with safe_open(folder / TENSORS, "pt") as file:
        assert len(file.keys()) == 4
    loaded = load_checkpoint(folder, HASH)
    assert loaded is not None
    assert_equal(loaded, {"a": same, "b": [same, minus], "c": shaped, "d": typed})
    assert loaded["b"][1].signbit().tolist() == [True, False]
    loaded["a"].zero_()
    assert loaded["b"][0].tolist() == [0.0, 2.0]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "checkpoint", HASH) is None


@pytest.mark.parametrize("value", [(1, 2), {1, 2}, b"x", object(), float("nan"), float("inf"), {1: 2}, Path("x")])
def test_what_is_neither_tensor_nor_json_is_refused_when_saving(tmp_path: Path, value: Any) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, {"old": 1}, HASH)
    with pytest.raises((TypeError, ValueError)):
        save_checkpoint(folder, {"deep": [value]}, HASH)
    assert load_checkpoint(folder, HASH) == {"old": 1}


def test_a_kind_of_number_that_the_file_format_lacks_is_refused_before_anything_is_written() -> None:
    with pytest.raises(TypeError, match=r"torch\.complex64; allowed: torch\.float64, "):
        take_snapshot({"deep": [torch.zeros(1, dtype=torch.complex64)]})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def edit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("name", [TENSORS, VALUES, MANIFEST])
@pytest.mark.parametrize("damage", [cut, empty, edit, remove])
def test_damage_is_refused_with_the_name(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, nested(), HASH)
    damage(folder / name)
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder, HASH)
    line = str(caught.value)
    assert str(folder) in line
    assert line.endswith(f"delete {folder} to start this run again")
    assert "\n" not in line
    if name != MANIFEST and damage is not remove:
        assert f"checkpoint file {folder / name} was changed or cut since it was written" in line


def test_every_edited_byte_of_the_manifest_is_noticed_or_harmless(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, {"a": torch.ones(2)}, HASH)
    whole = (folder / MANIFEST).read_bytes()
    refused = 0
    for position in range(len(whole)):
        edited = bytearray(whole)
        edited[position] ^= 1
        (folder / MANIFEST).write_bytes(edited)
        try:
            loaded = load_checkpoint(folder, HASH)
        except InputError:
            refused += 1
        else:  # a blank of the layout, or a key that is not read
            assert loaded is not None
            assert loaded["a"].tolist() == [1, 1]
    assert refused > 0.8 * len(whole)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "is damaged"),
        ("3", "is damaged"),
        ("{}", "is damaged (KeyError: 'xxh3_128')"),
        ('{"xxh3_128": [], "clbench": "%s", "run_hash": "0123abcd"}', "checkpoint"),
        ('{"xxh3_128": null, "clbench": "%s", "run_hash": "0123abcd"}', "checkpoint"),
        ('{"xxh3_128": {}, "clbench": "%s", "run_hash": "0123abcd"}', "was changed or cut"),
    ],
)
def test_a_manifest_of_another_shape_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, {"a": 1}, HASH)
    (folder / MANIFEST).write_text(content.replace("%s", clbench.__version__))
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder, HASH)
    assert reason in str(caught.value)
    assert str(folder) in str(caught.value)


def test_another_configuration_and_another_version_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, {"a": 1}, HASH)
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder, "ffffffff")
    assert str(caught.value).startswith(
        f"checkpoint {folder} belongs to the configuration {HASH}, not to ffffffff; delete"
    )
    version = clbench.__version__
    monkeypatch.setattr(clbench, "__version__", "99.0")
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder, HASH)
    assert str(caught.value).startswith(f"checkpoint {folder} was made by clbench {version}, this is 99.0; delete")


class Killed(BaseException):
    """Stands for a process that ends here."""


def renames(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """From now on only ``allowed`` more renames happen."""
    real, left = Path.rename, [allowed]

    def rename(self: Path, target: Path) -> Path:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)


@pytest.mark.parametrize("allowed", [0, 1])
def test_killed_around_the_renames_the_previous_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, {"task": 1, "w": torch.ones(2)}, HASH)
    with monkeypatch.context() as patch:
        renames(patch, allowed)
        with pytest.raises(Killed):
            save_checkpoint(folder, {"task": 2, "w": torch.zeros(2)}, HASH)
    loaded = load_checkpoint(folder, HASH)
    assert loaded is not None
    assert loaded["task"] == 1
    assert loaded["w"].tolist() == [1, 1]
    # The run goes on: the next one is saved and read, and nothing is left beside it.
    save_checkpoint(folder, {"task": 3}, HASH)
    assert load_checkpoint(folder, HASH) == {"task": 3}
    assert os.listdir(tmp_path) == ["checkpoint"]


@pytest.mark.parametrize("name", ["engine.checkpoint._checksum", "engine.checkpoint.write_tensors", "files._sync"])
def test_killed_while_writing_the_previous_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, {"task": 1}, HASH)

    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"clbench.{name}", kill)
        with pytest.raises(Killed):
            save_checkpoint(folder, {"task": 2}, HASH)
    assert load_checkpoint(folder, HASH) == {"task": 1}
    save_checkpoint(folder, {"task": 3}, HASH)
    assert load_checkpoint(folder, HASH) == {"task": 3}


def test_killed_after_the_renames_the_new_one_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, {"task": 1}, HASH)
    shutil.copytree(folder, tmp_path / "checkpoint.old")
    save_checkpoint(tmp_path / "other", {"task": 2}, HASH)
    shutil.rmtree(folder)
    (tmp_path / "other").rename(folder)
    assert load_checkpoint(folder, HASH) == {"task": 2}
    save_checkpoint(folder, {"task": 3}, HASH)
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_a_kept_previous_one_is_checked_too(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", {"task": 1}, HASH)
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    edit(tmp_path / "checkpoint.old" / VALUES)
    with pytest.raises(InputError, match=r"checkpoint\.old"):
        load_checkpoint(tmp_path / "checkpoint", HASH)


def test_remove_takes_everything(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", {"a": 1}, HASH)
    for suffix in (".new", ".old"):
        shutil.copytree(tmp_path / "checkpoint", tmp_path / f"checkpoint{suffix}")
    remove_checkpoint(tmp_path / "checkpoint")
    remove_checkpoint(tmp_path / "checkpoint")
    assert os.listdir(tmp_path) == []


def test_no_pickle_on_the_disk(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", nested(), HASH)
    json.loads((tmp_path / "checkpoint" / VALUES).read_text(encoding="utf-8"))
    header = (tmp_path / "checkpoint" / TENSORS).read_bytes()
    # safetensors: eight bytes of length, then a JSON header of that length.
    assert set(json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])) >= {"0", "1"}


def test_tensor_bytes() -> None:
    state = {
        "a": torch.zeros(3, 4),
        "b": [torch.zeros(2, dtype=torch.bool), {"c": torch.zeros(5, dtype=torch.int64)}],
        "d": 9,
    }
    assert tensor_bytes(state) == 3 * 4 * 4 + 2 + 5 * 8
    assert tensor_bytes({}) == 0
