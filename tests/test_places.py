"""What else lies where a run's file belongs: never waited for, never written through, replaced or told in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clbench.engine.checkpoint import load_checkpoint, remove_checkpoint, save_checkpoint
from clbench.errors import ClbenchError, InputError, RunError
from clbench.results.folder import RunFolder
from clbench.results.runs import find_runs
from tests.results.test_results import make_folder, make_result

Lay = Callable[[Path], object]
COLUMNS: dict[str, list[Any]] = {
    "after_task": [0],
    "task": ["a"],
    "index": [0],
    "label": ["x"],
    "prediction": ["x"],
    "confidence": [0.5],
}


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    (path / "of somebody").mkdir(parents=True)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(20 * 10**9)


def link(path: Path) -> None:
    outside(path).write_text("mine")
    path.symlink_to(outside(path))


def link_to_nothing(path: Path) -> None:
    path.symlink_to(outside(path))


def outside(path: Path) -> Path:
    """A file beside the results folder, which nothing may touch."""
    return next(parent for parent in path.parents if parent.name == "results").parent / "outside"


def untouched(path: Path) -> bool:
    place = outside(path)
    return place.read_text() == "mine" if place.exists() else True


THINGS = [pipe, folder, huge, link, link_to_nothing]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """The folder of a finished run."""
    (tmp_path / "results").mkdir()
    made = make_folder(tmp_path / "results")
    sha256 = made.write_predictions(COLUMNS)
    made.write_result({**make_result(), "predictions_sha256": sha256})
    return made


@pytest.mark.parametrize("lay", THINGS)
@pytest.mark.parametrize("name", ["config.json", "result.json", "predictions.parquet"])
def test_what_is_read(name: str, lay: Lay, run: RunFolder) -> None:
    place = run.path / name
    place.unlink()
    lay(place)
    if name == "config.json":
        with pytest.raises(InputError, match=r"config\.json: "):
            run.read_config()
        assert not run.holds_another("0" * 64)
        assert not run.is_being_overwritten()
    elif name == "result.json" and lay is link_to_nothing:
        assert run.read_result() is None  # an unfinished run, whose result replaces the link
    else:
        with pytest.raises(InputError, match=name):
            run.read_result()
    runs, skipped = find_runs([run.path.parents[2]])
    assert runs == []
    assert len(skipped) == 1
    assert untouched(place)


@pytest.mark.parametrize("lay", [pipe, folder, huge])
def test_an_environment_that_cannot_be_read_is_skipped(lay: Lay, run: RunFolder) -> None:
    lay(run.path / "environment.json")
    runs, (line,) = find_runs([run.path.parents[2]])
    assert runs == []
    assert "environment.json: cannot be read" in line


@pytest.mark.parametrize("lay", THINGS)
@pytest.mark.parametrize(
    "name", ["config.json", "environment.json", "result.json", "predictions.parquet", "log.jsonl", ".holder"]
)
def test_what_is_written(name: str, lay: Lay, run: RunFolder) -> None:
    place = run.path / name
    place.unlink(missing_ok=True)
    lay(place)
    write: dict[str, Callable[[], object]] = {
        "config.json": lambda: run.write_config({"hash8": "01234567"}),
        "environment.json": lambda: run.write_environment({}),
        "result.json": lambda: run.write_result(make_result()),
        "predictions.parquet": lambda: run.write_predictions(COLUMNS),
        "log.jsonl": lambda: begin_log(run),
        ".holder": lambda: held(run),
    }
    if lay is folder:
        with pytest.raises(RunError, match=rf"{name}: cannot be (written|removed): "):
            write[name]()
        assert (place / "of somebody").is_dir()
    else:
        write[name]()
        assert not place.is_symlink()
        assert place.is_file() or name == ".holder"
    assert untouched(place)


def begin_log(run: RunFolder) -> None:
    run.cut_log(0)
    run.append_log({"event": "x"})


def held(run: RunFolder) -> None:
    with run.locked():
        assert "process" in (run.path / ".holder").read_text()


def line_of(work: Callable[[], object]) -> str:
    """The one line with which ``work`` refuses; empty where it does not."""
    try:
        work()
    except ClbenchError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("lay", THINGS)
@pytest.mark.parametrize("name", [".lock", ".clbench-1-1.tmp", "matrix.png"])
def test_what_is_held_or_taken_away(name: str, lay: Lay, run: RunFolder) -> None:
    place = run.path / name
    lay(place)
    told = [line for line in (line_of(lambda: held(run)), line_of(run.remove_result)) if line]
    assert all(str(run.path) in line for line in told)
    assert told or lay is not folder
    assert untouched(place)
    assert lay is not folder or (place / "of somebody").is_dir()


@pytest.mark.parametrize("lay", THINGS)
def test_who_holds_it_is_asked_of_a_file_only(lay: Lay, run: RunFolder) -> None:
    with run.locked():
        (run.path / ".holder").unlink()
        lay(run.path / ".holder")
        with pytest.raises(InputError, match="is working on this run; wait for it or end it"), run.locked():
            pass
        if lay is folder:
            (run.path / ".holder" / "of somebody").rmdir()
            (run.path / ".holder").rmdir()


STATE = {"tensor": torch.arange(3.0), "rows": 2}


def same(state: dict[str, object] | None) -> bool:
    return state is not None and torch.equal(state["tensor"], STATE["tensor"]) and state["rows"] == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("lay", THINGS)
@pytest.mark.parametrize("name", ["state.json", "state.safetensors", "manifest.json"])
def test_what_is_read_of_a_checkpoint(name: str, lay: Lay, run: RunFolder) -> None:
    save_checkpoint(run.checkpoint, STATE, "hash")
    (run.checkpoint / name).unlink()
    lay(run.checkpoint / name)
    with pytest.raises(InputError, match=f"checkpoint.*delete {run.checkpoint} to start this run again"):
        load_checkpoint(run.checkpoint, "hash")
    save_checkpoint(run.checkpoint, STATE, "hash")
    assert same(load_checkpoint(run.checkpoint, "hash"))
    assert untouched(run.checkpoint)


@pytest.mark.parametrize("lay", THINGS)
@pytest.mark.parametrize("suffix", ["", ".new", ".old"])
def test_what_lies_in_a_checkpoints_place(suffix: str, lay: Lay, run: RunFolder) -> None:
    place = run.checkpoint.with_suffix(suffix)
    lay(place)
    if suffix == "" and lay is not link_to_nothing:
        with pytest.raises(InputError, match=f"checkpoint {place} is damaged"):
            load_checkpoint(run.checkpoint, "hash")
    for _ in range(2):
        save_checkpoint(run.checkpoint, STATE, "hash")
        assert same(load_checkpoint(run.checkpoint, "hash"))
    assert [path.name for path in run.path.glob("checkpoint*")] == ["checkpoint"]
    lay(run.checkpoint.with_suffix(".old"))
    remove_checkpoint(run.checkpoint)
    assert list(run.path.glob("checkpoint*")) == []
    assert untouched(place)


def test_a_checkpoint_on_another_disk_stays_there(run: RunFolder, tmp_path: Path) -> None:
    """A link to a folder: it is read through, and a new checkpoint takes the link's place."""
    save_checkpoint(tmp_path / "disk" / "checkpoint", STATE, "hash")
    run.checkpoint.symlink_to(tmp_path / "disk" / "checkpoint")
    assert same(load_checkpoint(run.checkpoint, "hash"))
    for _ in range(2):
        save_checkpoint(run.checkpoint, STATE, "hash")
    assert not run.checkpoint.is_symlink()
    assert json.loads((tmp_path / "disk" / "checkpoint" / "manifest.json").read_text())["run_hash"] == "hash"
