"""``clbench report``: finished runs as one page of HTML."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from clbench import report
from clbench.results import Run, find_runs


def write(paths: Sequence[Path], output: Path, baseline: str | None = None, *, with_texts: bool = True) -> None:
    """Write the page of the finished runs in ``paths``.

    Args:
        paths: results or run folders; ``results`` if none.
        output: the file, .html.
        baseline: a strategy; naive where it was run if None.
        with_texts: whether mistakes are shown with their texts, which runs the code of the runs' scenarios.

    Raises:
        InputError: there is no run, no such baseline, plotly is not installed or the page cannot be written.
    """
    report.check_page_path(output)
    runs, skipped = find_runs(paths or [Path("results")])
    for line in skipped:
        print(line, file=sys.stderr)
    write_runs(runs, output, baseline, heading="clbench: comparison of runs", notes=skipped, with_texts=with_texts)


def write_runs(
    runs: Sequence[Run],
    output: Path,
    baseline: str | None = None,
    *,
    heading: str,
    notes: Sequence[str] = (),
    with_texts: bool = True,
) -> None:
    """Write the page of ``runs`` under a heading and notes; otherwise as :func:`write`."""
    report.check_page_path(output)
    comparison = report.compare_for_page(runs, baseline)
    texts, lacking = texts_of(report.shown_runs(comparison)) if with_texts else ({}, [])
    told = [f"{len(runs)} finished runs", *notes, *lacking]
    report.write_page(comparison, output, heading=heading, notes=told, texts=texts)


def texts_of(runs: Sequence[Run]) -> tuple[dict[str, Mapping[str, Sequence[str]]], list[str]]:
    """The texts of each run's tasks by the run's folder, and notes; what runs share is read once."""
    from clbench.commands.errors import read_texts  # takes torch

    found: dict[str, Mapping[str, Sequence[str]]] = {}
    notes: list[str] = []
    for same in report.with_the_same_data(runs):
        texts, lacking = read_texts(same[0], same[0].result["tasks"])
        notes += [f"{same[0].result['scenario']}, seed {same[0].result['seed']}: {line}" for line in lacking]
        found.update({str(run.folder): texts for run in same})
    return found, list(dict.fromkeys(notes))
