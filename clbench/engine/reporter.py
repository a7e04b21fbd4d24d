"""Whom a run tells what it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clbench.errors import RunError
from clbench.scenario import Task


class Stopped(RunError):
    """A reporter has seen enough: the run ends, and what it had is dropped."""


class Reporter:
    """Base of every reporter; this one says nothing."""

    def say(self, line: str) -> None:
        """A line of progress."""

    def warn(self, line: str) -> None:
        """A warning."""

    def note(self, line: str) -> None:
        """What a person should know of the data; runs of the same tasks give the same lines."""

    def begin(self, folder: Path, settings: Mapping[str, Any], rows: int, steps: int) -> None:
        """A run begins in ``folder``, or goes on after so many rows of its matrix and so many steps."""

    def start_task(self, label: str, steps: int, steps_done: int = 0) -> None:
        """Training of a task begins, ``steps_done`` of its ``steps`` already taken."""

    def step(self, step: int, texts: int, loss: float) -> None:
        """Training has reached ``step``, ``texts`` more than at the last call; ``loss`` is the mean since."""

    def end_task(self) -> None:
        """Training of a task has ended."""

    def row(self, label: str, names: Sequence[str], row: Sequence[float | None]) -> None:
        """A row of the accuracy matrix: the accuracy of each of the tasks ``names``, None where it is unmeasured."""

    def result(self, result: Mapping[str, Any]) -> None:
        """The run is finished, and this is its result.json."""

    def close(self) -> None:
        """The run has ended, one way or another."""


def tell_notes(tasks: Sequence[Task], report: Reporter) -> dict[str, list[str]]:
    """Tell the notes on the tasks' data; those of each task that has any, for environment.json."""
    notes = {task.name: list(task.notes) for task in tasks if task.notes}
    for name, own in notes.items():
        for note in own:
            report.note(f"task {name!r}: {note}")
    return notes
