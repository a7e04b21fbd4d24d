"""Writing in the background: what is written, when errors come up, and that nothing is lost."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clbench.engine import checkpoint_writer
from clbench.engine.checkpoint import Snapshot, load_checkpoint, write_snapshot
from clbench.engine.checkpoint_writer import CheckpointWriter
from clbench.errors import RunError

HASH = "0123abcd"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written before this is set."""
    opened = threading.Event()

    def write(folder: Path, snapshot: Snapshot, hash8: str) -> None:
        assert opened.wait(10)
        write_snapshot(folder, snapshot, hash8)

    monkeypatch.setattr(checkpoint_writer, "write_snapshot", write)
    return opened


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def failing() -> None:
        def write(*_: Any) -> None:
            raise RunError("the disk is full")

        monkeypatch.setattr(checkpoint_writer, "write_snapshot", write)

    return failing


def test_what_is_written_is_the_state_when_it_was_saved(tmp_path: Path, gate: threading.Event) -> None:
    live, listed = torch.zeros(3), [1]
    with CheckpointWriter(tmp_path / "checkpoint", HASH) as writer:
        writer.save({"w": live, "list": listed})
        live.add_(1)
        listed.append(2)
        writer.check()  # does not wait
        assert load_checkpoint(tmp_path / "checkpoint", HASH) is None
        gate.set()
        writer.wait()
        state = load_checkpoint(tmp_path / "checkpoint", HASH)
        assert state is not None
        assert state["w"].tolist() == [0.0, 0.0, 0.0]
        assert state["list"] == [1]


def test_leaving_waits_and_the_last_state_stays(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path / "checkpoint", HASH) as writer:
        for number in range(5):
            writer.save({"number": number})
    assert load_checkpoint(tmp_path / "checkpoint", HASH) == {"number": 4}


def test_who_waits_writes_what_the_thread_has_not_begun(tmp_path: Path) -> None:
    """The thread gives way to whoever computes, for ever where there are more of them than processors."""
    starved, writer = threading.Event(), CheckpointWriter(tmp_path / "checkpoint", HASH)
    writer._thread.submit(starved.wait, 60)
    writer.save({"number": 1})
    writer.save({"number": 2})
    assert load_checkpoint(tmp_path / "checkpoint", HASH) == {"number": 1}
    writer.wait()
    assert load_checkpoint(tmp_path / "checkpoint", HASH) == {"number": 2}
    starved.set()
    writer.__exit__(None, None, None)


@pytest.mark.parametrize("call", ["save", "wait", "check", "leave"])
def test_an_error_comes_up_at_the_next_call(tmp_path: Path, fail: Callable[[], None], call: str) -> None:
    writer = CheckpointWriter(tmp_path / "checkpoint", HASH)
    writer.save({"number": 1})
    writer.wait()
    fail()
    writer.save({"number": 2})
    writer._thread.submit(int).result()  # the one thread has ended the writing
    calls: dict[str, Callable[[], None]] = {
        "save": lambda: writer.save({"number": 3}),
        "wait": writer.wait,
        "check": writer.check,
        "leave": lambda: writer.__exit__(None, None, None),
    }
    with pytest.raises(RunError, match="the disk is full"):
        calls[call]()
    assert load_checkpoint(tmp_path / "checkpoint", HASH) == {"number": 1}


def test_an_error_of_the_run_goes_first_and_names_the_other(tmp_path: Path, fail: Callable[[], None]) -> None:
    fail()

    def run() -> None:
        with CheckpointWriter(tmp_path / "checkpoint", HASH) as writer:
            writer.save({"number": 1})
            raise RunError("the loss is nan")

    with pytest.raises(RunError) as caught:
        run()
    assert str(caught.value) == "the loss is nan; and the disk is full"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities for threads")
def test_the_writing_gives_way_and_nothing_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    monkeypatch.setattr(
        checkpoint_writer, "write_snapshot", lambda *_: found.append(os.getpriority(os.PRIO_PROCESS, 0))
    )
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with CheckpointWriter(tmp_path / "checkpoint", HASH) as writer:
        writer.save({})
    assert (found, os.getpriority(os.PRIO_PROCESS, 0)) == ([19], before)
