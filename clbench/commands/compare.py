"""``clbench compare`` and ``clbench plot``: what finished runs come to. Imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from clbench import report
from clbench.commands.terminal import terminal_width
from clbench.errors import unknown
from clbench.plugins import load_function
from clbench.results import Run, find_runs


def table(paths: Sequence[Path], metrics: Sequence[str], sort: str | None, format: str, *, wide: bool = False) -> str:
    """The comparison of the finished runs in ``paths`` as text in one of the formats; a metric may be a .py file's.

    On a terminal the format "table" is as wide as that, unless ``wide``.
    """
    columns = [load_function(name) if name.endswith(".py") else name for name in metrics]
    return report.render(
        report.compare(_finished(paths), columns or None, sort), format, None if wide else terminal_width()
    )


def plot(kind: str, paths: Sequence[Path], output: Path) -> None:
    """Draw the finished runs in ``paths``; ``kind`` is "curves", "matrix" or "tradeoff"."""
    kinds = ("curves", "matrix", "tradeoff")
    if kind not in kinds:
        raise unknown("plot", kind, kinds)
    getattr(report, f"plot_{kind}")(_finished(paths), output)


def _finished(paths: Sequence[Path]) -> list[Run]:
    runs, skipped = find_runs(paths or [Path("results")])
    for line in skipped:
        print(line, file=sys.stderr)
    return runs
