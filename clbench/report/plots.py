"""Saves figures of runs: accuracy matrices, learning curves, what is learned against what is forgotten, confusions."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from clbench.errors import InputError
from clbench.files import write_atomic
from clbench.report.ability_curve import ability_figure
from clbench.report.confusions import confusion_figure
from clbench.report.curves import curves_figure
from clbench.report.heatmaps import matrix_figure
from clbench.report.mistake_records import RunErrors
from clbench.report.sensitivity import sensitivity_figure
from clbench.report.stability import stability_figure
from clbench.report.tradeoff import tradeoff_figure
from clbench.results import Run, Tuned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")
SUFFIXES = (".png", ".pdf", ".svg")
DPI = 200


def plot_matrix(runs: Sequence[Run], path: str | Path) -> None:
    """Save ``matrix_figure`` as PNG, PDF or SVG; InputError for another suffix or a path that cannot be written."""
    _draw(matrix_figure, runs, _checked(path))


def plot_curves(runs: Sequence[Run], path: str | Path) -> None:
    """Save ``curves_figure`` as PNG, PDF or SVG; InputError for another suffix or a path that cannot be written."""
    _draw(curves_figure, runs, _checked(path))


def plot_ability(runs: Sequence[Run], path: str | Path) -> None:
    """Save ``ability_figure`` as PNG, PDF or SVG; InputError for another suffix or a path that cannot be written."""
    _draw(ability_figure, runs, _checked(path))


def plot_tradeoff(runs: Sequence[Run], path: str | Path) -> None:
    """Save ``tradeoff_figure`` as PNG, PDF or SVG; InputError for another suffix or a path that cannot be written."""
    _draw(tradeoff_figure, runs, _checked(path))


def plot_stability(runs: Sequence[Run], path: str | Path) -> None:
    """Save ``stability_figure`` as PNG, PDF or SVG; InputError for another suffix or a path that cannot be written."""
    _draw(stability_figure, runs, _checked(path))


def plot_sensitivity(entries: Mapping[str, Tuned], path: str | Path) -> None:
    """Save ``sensitivity_figure`` as PNG, PDF or SVG; InputError for another suffix or path that cannot be written."""
    _draw(sensitivity_figure, entries, _checked(path))


def plot_confusion(errors: RunErrors, path: str | Path) -> None:
    """Save ``confusion_figure`` as PNG, PDF or SVG; InputError for another suffix or a path that cannot be written."""
    _draw(confusion_figure, errors, _checked(path))


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{str(path)!r} names no kind of picture; allowed suffixes: {', '.join(SUFFIXES)}")
    if os.path.isdir(path):  # not path.is_dir(), which raises for a name too long
        raise InputError(f"{str(path)!r} is a folder; give a file to write with -o")
    if not os.path.isdir(path.parent):
        raise InputError(f"{str(path)!r}: the folder {str(path.parent)!r} does not exist")
    return path


def _draw(make: Callable[[T], Figure], shown: T, path: Path) -> None:
    """Make the figure and write it, with matplotlib's own settings whatever the user's matplotlibrc says."""
    import matplotlib as mpl

    kind = path.suffix.lower()[1:]
    # No date in the file: the same runs give the same bytes. Type 42 fonts keep text selectable.
    metadata: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    buffer = io.BytesIO()
    own = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
    with warnings.catch_warnings(), mpl.rc_context({**own, "svg.hashsalt": "clbench", "pdf.fonttype": 42}):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the picture shows a box in its place
        make(shown).savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    try:
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be written: {error.strerror}; choose another file with -o") from error
