"""What several runs that go on at once say: a table of them where stderr is a terminal, else only what went wrong."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from clbench.commands.progress import TerminalReporter
from clbench.engine import Reporter
from clbench.text import clean


class RunOnBoard(Reporter):
    """One of the runs: a row of the table, and its warnings, with its name before them."""

    def __init__(self, board: Board, name: str) -> None:
        self.board, self.name, self.started = board, name, time.monotonic()
        self.doing, self.step_of, self.loss = "starting", "", ""
        self.steps = 0

    def say(self, line: str) -> None:
        """Only with -v: the table, or the line of its result, says how it goes."""
        if self.board.verbosity > 0:
            self.board.say(f"{self.name}: {line}")

    def warn(self, line: str) -> None:
        """A warning."""
        self.board.warn(f"{self.name}: {line}")

    def note(self, line: str) -> None:
        """What a person should know of the data, once for all runs."""
        self.board.note(line)

    def start_task(self, label: str, steps: int, steps_done: int = 0) -> None:
        """Training of a task begins."""
        self.doing, self.steps, self.step_of, self.loss = label, steps, f"{steps_done}/{steps}", ""

    def step(self, step: int, texts: int, loss: float) -> None:
        """Training has reached ``step``."""
        self.step_of, self.loss = f"{step}/{self.steps}", f"{loss:.3f}"

    def end_task(self) -> None:
        """Between tasks."""
        self.step_of = "measuring"

    def row(self, label: str, names: Sequence[str], row: Sequence[float | None]) -> None:
        """With -v a line, as of a run alone."""
        if self.board.verbosity > 0:
            self.board.row(f"{self.name}: {label}", names, row)


class Board(TerminalReporter):
    """The runs that go on, shown while the ``with`` block lasts.

    Args:
        verbosity: as for one run; a table at 0 and 1.
        count: how many runs there will be.
    """

    def __init__(self, verbosity: int, count: int) -> None:
        super().__init__(verbosity)
        self.count, self.done, self._live, self._lock = count, 0, None, threading.RLock()
        self._runs: dict[int, RunOnBoard] = {}

    _live: Any

    def __enter__(self) -> Board:
        if self.verbosity >= 0 and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            # What is printed meanwhile goes where it was meant to go, above the table; see `aside`.
            self._live = Live(
                get_renderable=self._table,
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    @contextmanager
    def on_board(self, name: str) -> Iterator[RunOnBoard]:
        """Inside, the run called ``name`` is in the table."""
        run = RunOnBoard(self, name)
        self._runs[id(run)] = run
        try:
            yield run
        finally:
            del self._runs[id(run)]
            self.done += 1

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Inside, the table is away, so that lines can be printed."""
        with self._lock:
            if self._live is not None:
                self._live.stop()
            try:
                yield
            finally:
                if self._live is not None:
                    self._live.start(refresh=True)

    def _write(self, line: str) -> None:
        with self.aside():
            print(clean(line), file=sys.stderr, flush=True)

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=f"{self.done} of {self.count} runs done", title_justify="left", box=None)
        for heading in ("run", "task", "step", "loss", "time"):
            table.add_column(heading, justify="left" if heading in ("run", "task") else "right")
        for run in list(self._runs.values()):
            seconds = int(time.monotonic() - run.started)
            cells = (run.name, run.doing, run.step_of, run.loss, f"{seconds // 60}:{seconds % 60:02d}")
            table.add_row(*(Text(clean(cell)) for cell in cells))
        return table
