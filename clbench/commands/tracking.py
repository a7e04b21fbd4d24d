"""What a run tells, also to the trackers that its settings name: `run --track`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from clbench.commands.figures import draw_run
from clbench.commands.progress import TerminalReporter
from clbench.commands.trackers import Place, Tracker, open_tracker
from clbench.engine import Reporter
from clbench.errors import in_a_line
from clbench.files import safe_name
from clbench.results import Run, read_tracking, write_tracking


class Tracking(Reporter):
    """Beside another reporter: settings, losses, rows, metrics, costs and figures to the trackers that a run asks for.

    A tracker that fails is told of once and left out from there on: the run is worth more.
    """

    _folder: Path
    _settings: Mapping[str, Any]
    _steps = _task_steps = _row = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._trackers: dict[str, Tracker] = {}

    def begin(self, folder: Path, settings: Mapping[str, Any], rows: int, steps: int) -> None:
        """Open the trackers, each in the run that it knows of what goes on."""
        super().begin(folder, settings, rows, steps)
        self._folder, self._settings, self._steps, self._row = folder, settings, steps, rows
        names = list(dict.fromkeys(settings.get("track") or ()))
        if not names:
            return
        known: dict[str, str] = {}
        if rows:
            self._attempt("tracking.json", lambda: known.update(read_tracking(folder)))
        for name in names:
            place = Place(folder, "/".join(folder.parts[-3:]), known.get(name))
            self._attempt(name, partial(self._open, name, place))
        known |= {name: tracker.name for name, tracker in self._trackers.items()}
        self._attempt("tracking.json", partial(write_tracking, folder, known))
        self._tell_all(lambda tracker: tracker.tell_settings({k: _scalar(v) for k, v in settings.items()}))

    def _open(self, name: str, place: Place) -> None:
        self._trackers[name] = open_tracker(name, place)

    def start_task(self, label: str, steps: int, steps_done: int = 0) -> None:
        """Training of a task begins."""
        super().start_task(label, steps, steps_done)
        self._task_steps = steps

    def step(self, step: int, texts: int, loss: float) -> None:
        """The loss, at the steps of all tasks so far."""
        super().step(step, texts, loss)
        self._tell_all(lambda tracker: tracker.tell({"train/loss": loss}, "step", self._steps + step))

    def end_task(self) -> None:
        """Training of a task has ended."""
        super().end_task()
        self._steps += self._task_steps

    def row(self, label: str, names: Sequence[str], row: Sequence[float | None]) -> None:
        """A row of the accuracy matrix."""
        super().row(label, names, row)
        digits = len(str(len(names)))
        cells = {
            f"matrix/{n:0{digits}}-{safe_name(name)}": v for n, (name, v) in enumerate(zip(names, row, strict=True), 1)
        }
        measured = {name: value for name, value in cells.items() if value is not None}
        number, self._row = self._row, self._row + 1
        if measured:
            self._tell_all(lambda tracker: tracker.tell(measured, "after_task", number))

    def result(self, result: Mapping[str, Any]) -> None:
        """Metrics, costs and figures."""
        super().result(result)
        if not self._trackers:
            return
        numbers = {f"metrics/{name}": value for name, value in result["metrics"].items() if value is not None}
        numbers |= {f"cost/{name}": v for name, v in result["cost"].items() if isinstance(v, int | float)}
        last = len(result["tasks"])
        self._tell_all(lambda tracker: tracker.tell(numbers, "after_task", last))
        pictures = draw_run(Run(self._folder, dict(result), dict(self._settings)), self)
        self._tell_all(lambda tracker: tracker.show(pictures, last))

    def close(self) -> None:
        """The run has ended, one way or another."""
        self._tell_all(lambda tracker: tracker.finish())
        self._trackers.clear()
        super().close()

    def _tell_all(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            self._attempt(name, partial(tell, tracker))

    def _attempt(self, name: str, work: Callable[[], None]) -> None:
        """Do what a tracker's own code does, which may raise anything, and prints where answers stand."""
        try:
            with redirect_stdout(sys.stderr):
                work()
        except Exception as error:
            self._trackers.pop(name, None)
            self.warn(f"{name} is left out from here on: {in_a_line(error)[:300]}")


class TrackingReporter(Tracking, TerminalReporter):
    """Progress on stderr, and to trackers."""


def _scalar(value: Any) -> Any:
    """A setting as a tracker takes it: what holds others as JSON."""
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, sort_keys=True)
