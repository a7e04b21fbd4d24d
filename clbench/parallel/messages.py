"""What a run in a process of its own tells the one that asked for it: progress, memory, and what it came to."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from clbench.engine import Interrupted, Reporter, Stopped
from clbench.errors import ClbenchError, InputError, RunError
from clbench.parallel.memory import memory_of_run

if TYPE_CHECKING:
    from clbench.results import Run

GO, STOP = "go", "stop"
FINISHED, FAILED, MEMORY = "finished", "failed", "memory"
# What a reporter is told; a row waits for the answer whether to go on.
TOLD = ("say", "warn", "note", "start_task", "step", "end_task", "row", "close")
ERRORS: dict[str, type[ClbenchError]] = {error.__name__: error for error in (InputError, Stopped, RunError)}


class Sender(Reporter):
    """In the run's process: passes on what the run tells.

    Args:
        messages: take it.
        answers: give GO or STOP after each row; where they end, whoever asked for the run is gone, and the run is
            stopped as by SIGTERM, its state saved.
        device: whose memory is told.
    """

    def __init__(self, messages: Connection, answers: Connection, device: str) -> None:
        self.messages, self.answers, self.device = messages, answers, device
        self.given: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.trained = False
        self.ended = False  # the run has, or whoever asked for it
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                self.given.put(self.answers.recv())
        except (EOFError, OSError):
            self.ended, ended = True, self.ended
            self.given.put(GO)  # to a row that waits; none after it does
            if not ended:
                os.kill(os.getpid(), signal.SIGTERM)

    def send(self, name: str, *values: Any) -> None:
        """Pass a message on."""
        with suppress(OSError):  # nobody is there any more, and the run is being stopped
            self.messages.send((name, values))

    def say(self, line: str) -> None:
        """A line of progress."""
        self.send("say", line)

    def warn(self, line: str) -> None:
        """A warning."""
        self.send("warn", line)

    def note(self, line: str) -> None:
        """What a person should know of the data."""
        self.send("note", line)

    def start_task(self, label: str, steps: int, steps_done: int = 0) -> None:
        """Training of a task begins."""
        self.send("start_task", label, steps, steps_done)

    def step(self, step: int, texts: int, loss: float) -> None:
        """Training has reached ``step``."""
        self.send("step", step, texts, loss)

    def end_task(self) -> None:
        """Training of a task has ended: from here on the run's memory tells how much it needs."""
        self.trained = True
        self.send("end_task")

    def row(self, label: str, names: Sequence[str], row: Sequence[float | None]) -> None:
        """A row of the accuracy matrix; Stopped where it was enough."""
        if self.trained:
            self.send(MEMORY, *memory_of_run(self.device))
        self.send("row", label, list(names), list(row))
        if not self.ended and self.given.get() == STOP:
            raise Stopped(f"{label}: it was told to stop")

    def close(self) -> None:
        """The run has ended."""
        self.send("close")

    def finish(self, run: Run) -> None:
        """The run is finished."""
        self.ended = True
        self.send(FINISHED, run)

    def fail(self, error: ClbenchError) -> None:
        """The run failed, or was interrupted."""
        self.ended = True
        self.send(FAILED, type(error).__name__, str(error))


def receive(
    messages: Connection, answers: Connection, reporter: Reporter, memory: Callable[[int, int | None], None]
) -> Any:
    """Pass on to ``reporter`` what a run tells, until it ends: what it sent at its end, or None where it just died.

    Raises:
        Stopped: the run was stopped by ``reporter``, and has ended.
        ClbenchError: it failed, or was interrupted.
    """
    stopped: Stopped | None = None
    while True:
        try:
            name, values = messages.recv()
        except (EOFError, OSError):
            return None
        if name == FINISHED:
            return values[0]
        if name == FAILED:
            kind, text = values
            raise stopped or (Interrupted(text, signal.SIGTERM) if kind == "Interrupted" else ERRORS[kind](text))
        if name == MEMORY:
            memory(*values)
            continue
        assert name in TOLD, name
        try:
            getattr(reporter, name)(*values)
        except Stopped as error:
            stopped = error
        if name == "row":
            with suppress(OSError):  # it has died meanwhile, which the next message tells
                answers.send(STOP if stopped else GO)
