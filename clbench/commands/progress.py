"""What a run says while it works, on stderr: a bar a task where stderr is a terminal, else a line a task."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from clbench.engine import Reporter
from clbench.text import clean


class TerminalReporter(Reporter):
    """Progress on stderr.

    Args:
        verbosity: -1 says nothing but warnings and notes on the data, 0 a bar or line a task and its matrix row, 1 a
            line every ten steps.
    """

    def __init__(self, verbosity: int = 0) -> None:
        self.verbosity = verbosity
        self._bar: Any = None
        self._noted: set[str] = set()

    def say(self, line: str) -> None:
        """A line of progress."""
        if self.verbosity >= 0:
            self._write(line)

    def warn(self, line: str) -> None:
        """A warning, shown even with -q."""
        self._write(f"warning: {line}")

    def note(self, line: str) -> None:
        """What a person should know of the data, once for all runs, even with -q."""
        if line not in self._noted:
            self._noted.add(line)
            self._write(f"note: {line}")

    def start_task(self, label: str, steps: int, steps_done: int = 0) -> None:
        """Training of a task begins."""
        self.label, self.steps, self.first_step, self.texts = label, steps, steps_done, 0
        self.started = time.perf_counter()
        if self.verbosity >= 0 and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[detail]}"),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._bar_task = self._bar.add_task(label, total=steps, completed=steps_done, detail="")

    def step(self, step: int, texts: int, loss: float) -> None:
        """Training has reached ``step``, ``texts`` more than at the last call; ``loss`` is the mean since."""
        self.texts += texts
        self.loss, self.done = loss, step
        speed = self.texts / max(time.perf_counter() - self.started, 1e-9)
        left = (time.perf_counter() - self.started) / max(step - self.first_step, 1) * (self.steps - step)
        detail = f"{speed:.0f} texts/s  loss {loss:.3f}"
        if self._bar is not None:
            self._bar.update(self._bar_task, completed=step, detail=detail)
        elif self.verbosity > 0 and step > self.first_step:  # else another run has taken it
            self._write(f"{self.label}  step {step}/{self.steps}  {detail}  {left:.0f} s left")

    def close(self) -> None:
        """Take the bar away, so that the terminal is as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def end_task(self) -> None:
        """Training of a task has ended."""
        if self._bar is not None:
            self.close()
        elif self.texts:
            seconds = time.perf_counter() - self.started
            speed = self.texts / max(seconds, 1e-9)
            self.say(f"{self.label}  {self.done} steps  {seconds:.1f} s  {speed:.0f} texts/s  loss {self.loss:.3f}")

    def row(self, label: str, names: Sequence[str], row: Sequence[float | None]) -> None:
        """A row of the accuracy matrix."""
        cells = "  ".join(f"{n} {'–' if v is None else f'{v:.3f}'}" for n, v in zip(names, row, strict=True))
        self.say(f"{label}: {cells}")

    def _write(self, line: str) -> None:
        line = clean(line)
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)
