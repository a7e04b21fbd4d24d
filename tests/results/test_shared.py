"""The folder of what runs share goes with the command, and so does what a killed one left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clbench.results import shared_folder
from clbench.results.shared import BEGINNING


def test_it_goes_with_the_command_and_takes_what_a_dead_one_left(tmp_path: Path) -> None:
    with shared_folder(tmp_path / "results") as living:
        assert living is not None
        (living / "state").write_text("ours")
        dead = living.with_name(f"{living.name}x")  # as one whose owner was killed: nobody holds its lock
        dead.mkdir()
        (dead / "state").write_text("nobody's")
        elsewhere = living.with_name(f"{BEGINNING}other-machine-1")
        elsewhere.mkdir()
        with shared_folder(tmp_path / "results") as other:
            assert other is not None
            assert other != living
            assert not list(other.glob("state"))
            assert not dead.exists()
            assert (living / "state").read_text() == "ours"
        assert not other.exists()
    assert sorted(os.listdir(tmp_path / "results")) == [elsewhere.name]


def test_where_there_is_no_place_nothing_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with shared_folder(tmp_path / "file") as folder:
        assert folder is None

    def no_locks(*_: object, **__: object) -> None:
        raise NotImplementedError("this file system has no locks")

    monkeypatch.setattr("filelock.FileLock.acquire", no_locks)
    with shared_folder(tmp_path) as folder:
        assert folder is None
    assert os.listdir(tmp_path) == ["file"]
