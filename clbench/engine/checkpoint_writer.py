"""Writes checkpoints in a thread of its own, so that training goes on while the disk works."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from clbench.engine.checkpoint import take_snapshot, write_snapshot
from clbench.models import ranks


class CheckpointWriter:
    """One checkpoint at a time: a state is copied at once, then written, hashed and synced beside the training.

    An error of the writing is raised by the next call, at the latest when the ``with`` block ends.

    Args:
        folder: the checkpoint's folder.
        run_hash: the configuration that the states belong to.
    """

    def __init__(self, folder: Path, run_hash: str) -> None:
        self.folder, self.run_hash = folder, run_hash
        self._thread = ThreadPoolExecutor(1, "checkpoint", _give_way)
        self._writing: tuple[Future[None], Callable[[], None]] | None = None  # and what is written, which may be large

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.wait()
        except Exception as unwritten:
            if error is None:
                raise
            # What ended the run is the news; that the last checkpoint is missing too goes with it.
            error.add_note(str(unwritten))
        finally:
            self._thread.shutdown()

    def save(self, state: dict[str, Any]) -> None:
        """Copy ``state`` (nested dicts and lists of tensors and JSON values) and begin to write it.

        Raises:
            RunError: the one before could not be written.
        """
        self.wait()
        write = partial(write_snapshot, self.folder, take_snapshot(state), self.run_hash)
        self._writing = self._thread.submit(write), write

    def check(self) -> None:
        """Raise the error of a writing that has ended; does not wait."""
        if self._writing is not None and self._writing[0].done():
            self.wait()

    def wait(self) -> None:
        """Until the last saved state is whole on the disk; who waits for what has not begun writes it.

        Raises:
            RunError: it could not be written; the checkpoint before is whole.
        """
        if self._writing is not None:
            (writing, write), self._writing = self._writing, None
            if writing.cancel():  # not begun: where processors are short, a thread that gives way may never be
                write()
            else:
                writing.result()


class SilentWriter(CheckpointWriter):
    """Writes nothing, as in all processes of a run but the first."""

    def save(self, state: dict[str, Any]) -> None:
        """Nothing."""


def checkpoint_writer(folder: Path, run_hash: str) -> CheckpointWriter:
    """What this process saves its states with; one process of a run writes."""
    return CheckpointWriter(folder, run_hash) if ranks.is_first() else SilentWriter(folder, run_hash)


def _give_way() -> None:
    """Let the thread that calls work only where a processor has nothing else to do.

    The threads of a training step wait for each other, so that one that loses its processor stops them all. Only
    Linux has priorities for threads; while training waits for a checkpoint, the writing has the processors anyway.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
