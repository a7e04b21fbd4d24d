"""`clbench advise`: options into constraints, progress on stderr, the recommendation on stdout."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clbench.advice import Constraints, give_advice, read_duration, read_overhead, read_size, read_yes_no
from clbench.commands.planning import key_values
from clbench.commands.progress import TerminalReporter
from clbench.commands.report import write_runs
from clbench.errors import InputError
from clbench.files import expand
from clbench.text import clean


def run(
    options: Mapping[str, Any],
    scenario_arguments: Sequence[str],
    folder: Path,
    *,
    keep_data: str | None,
    task_known: str | None,
    max_stored: str | None,
    max_overhead: float | None,
    budget: str,
    seeds: int,
    metric: str,
    strategies: Sequence[str],
    save_model: bool,
    quiet: bool,
) -> str:
    """Give advice and return what stands in advice.md.

    Raises:
        InputError: wrong options, or a budget that is too small.
    """
    constraints = Constraints(
        keep_data=read_yes_no("--keep-data", keep_data) is not False,
        task_known=read_yes_no("--task-known", task_known),
        max_stored=None if max_stored is None else read_size(max_stored),
        max_overhead=read_overhead(max_overhead),
    )
    seconds = read_duration(budget)
    given = {**options, "scenario_args": key_values(scenario_arguments)}

    def say(line: str) -> None:
        if not quiet:
            for each in line.splitlines():
                print(clean(each), file=sys.stderr, flush=True)

    reporter = Progress(-1 if quiet else 0)
    place = expand(folder, "--output")
    verdict = give_advice(
        given, constraints, place, reporter, say, budget=seconds, seeds=seeds, metric=metric, strategies=strategies,
        save_model=save_model,
    )  # fmt: skip
    runs = [run for found in verdict.runs.values() for run in found]
    try:
        heading = f"clbench advises {verdict.recommended.strategy}"
        write_runs(runs, place / "report.html", heading=heading, notes=["the runs of the final; see advice.md"])
    except InputError as error:  # such as plotly that is not installed: the advice stands without
        reporter.warn(f"no report.html: {error}")
    return (place / "advice.md").read_text(encoding="utf-8").rstrip("\n")


class Progress(TerminalReporter):
    """A line a run, and what it came to; neither its tasks nor its rows."""

    def start_task(self, label: str, steps: int, steps_done: int = 0) -> None:
        """Nothing: a race has hundreds of tasks."""
        self.texts = 0

    def step(self, step: int, texts: int, loss: float) -> None:
        """Nothing."""

    def end_task(self) -> None:
        """Nothing."""

    def row(self, label: str, names: Sequence[str], row: Sequence[float | None]) -> None:
        """Nothing."""
