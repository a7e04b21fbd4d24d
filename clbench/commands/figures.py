"""The figures that a run draws without being asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from clbench import report
from clbench.engine import Reporter
from clbench.errors import InputError, RunError
from clbench.results import Run


def draw_run(run: Run, reporter: Reporter) -> dict[str, Path]:
    """The matrix and the curves of a run in its folder, by name, those that could be drawn."""
    figures = {"matrix": report.plot_matrix, "curves": report.plot_curves}
    paths = {name: run.folder / f"{name}.png" for name in figures}
    return {n: path for n, path in paths.items() if path.exists() or drawn(figures[n], [run], path, reporter)}


def drawn(draw: Callable[[Sequence[Run], Path], None], runs: Sequence[Run], path: Path, reporter: Reporter) -> bool:
    """Draw a figure that nobody asked for by name: where it cannot be drawn or written, the result still stands."""
    try:
        draw(runs, path)
    except (InputError, RunError) as error:
        reporter.warn(f"no plot: {error}")
        return False
    return True
