"""``clbench compare`` and ``clbench plot``: what finished runs come to. Imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from clbench import report
from clbench.commands.terminal import terminal_width
from clbench.errors import InputError, unknown
from clbench.plugins import load_function
from clbench.results import Run, find_run, find_runs, read_tuned


def table(
    paths: Sequence[Path],
    metrics: Sequence[str],
    sort: str | None,
    format: str,
    *,
    wide: bool = False,
    baseline: str | None = None,
) -> str:
    """The comparison of the finished runs in ``paths`` as text in one of the formats; a metric may be a .py file's.

    With a ``baseline``, a strategy, there are each metric's differences from it. On a terminal the format "table" is as
    wide as that, unless ``wide``.
    """
    columns = [load_function(name) if name.endswith(".py") else name for name in metrics]
    return report.render(
        report.compare(_finished(paths), columns or None, sort, baseline), format, None if wide else terminal_width()
    )


def plot(kind: str, paths: Sequence[Path], output: Path, tasks: Sequence[str] = (), after: int | None = None) -> None:
    """Draw the finished runs in ``paths``.

    ``kind`` is "curves", "matrix", "tradeoff", "ability", "stability", or "confusion" of one run, of its ``tasks``
    after ``after`` tasks, or "sensitivity" of a file that ``tune`` wrote.
    """
    kinds = ("curves", "matrix", "tradeoff", "ability", "stability", "confusion", "sensitivity")
    if kind not in kinds:
        raise unknown("plot", kind, kinds)
    if kind == "confusion":
        run = find_run(paths or [Path("results")])
        report.plot_confusion(report.find_errors(run, tasks, after), output)
        return
    if tasks or after is not None:
        raise InputError(f"--task and --after are for `plot confusion`; `plot {kind}` shows all tasks and times")
    if kind == "sensitivity":
        if len(paths) != 1:
            raise InputError(f"plot sensitivity takes one file that `clbench tune` wrote, not {len(paths)}")
        report.plot_sensitivity(read_tuned(paths[0]), output)
        return
    getattr(report, f"plot_{kind}")(_finished(paths), output)


def _finished(paths: Sequence[Path]) -> list[Run]:
    runs, skipped = find_runs(paths or [Path("results")])
    for line in skipped:
        print(line, file=sys.stderr)
    return runs
