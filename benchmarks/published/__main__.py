"""``python -m benchmarks.published [NAME ...] [--seeds N]``: runs published protocols and writes how near ours come.

NAME is a figure (hsu2018-ewc-task), a row (hsu2018-ewc) or a paper (hsu2018); all by default. What is finished in the
folder of runs is read back, and what the page has of runs that are not there stays, where they are more or the only
ones; ``--seeds 0`` runs nothing and writes the page anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.published import page, runs
from benchmarks.published.band import compare
from benchmarks.published.protocols import FOLDER, Figure, choose, read_figures
from clbench.errors import ClbenchError, RunError
from clbench.results import Run


def main(arguments: Sequence[str] | None = None, protocols: Path = FOLDER) -> int:
    """Run what is asked for; gives the exit code."""
    options = parse(arguments)
    try:
        figures = read_figures(protocols)
        for figure in choose(figures, options.names) if options.seeds else ():
            print(f"{figure.name}: seeds 0 to {options.seeds - 1}", file=sys.stderr)
            runs.run(figure, options.seeds, options.runs)
        # At the end alone: a page that is in git and changes would make the next run one of uncommitted changes.
        print(report(figures, options.runs, options.output), end="")
    except ClbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures, rows or papers [all]")
    parser.add_argument(
        "--seeds", type=seeds, default=3, metavar="N", help="runs of each figure, with seeds from 0 on [3]"
    )
    parser.add_argument("--runs", type=Path, default=Path("results/published-figures"), help="folder of the runs")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder of the page and its data")
    return parser.parse_args(arguments)


def seeds(text: str) -> int:
    """A number of seeds, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: a whole number, 0 or more")
    return int(text)


def report(figures: Sequence[Figure], folder: Path, output: Path) -> str:
    """Write the page of all that is finished, here or in the page as it is.

    Raises:
        RunError: a run was made with code that is in no commit.
    """
    finished = {figure.name: runs.finished_runs(figure, folder) for figure in figures}
    used: list[Run] = [run for found in finished.values() for run in found]
    if unclean := runs.unclean(used):
        raise RunError(f"{unclean[0]} was made with changes that are in no commit; commit them, and remove that run")
    rows, commits = page.read(figures, output)
    for figure in figures:
        found = finished[figure.name]
        if found and len(found) >= rows.get(figure.name, {"ours_n": 0})["ours_n"]:
            rows[figure.name] = compare(figure, runs.accuracies(found))
    return page.write(figures, rows, sorted({*commits, *runs.commits(used)}), output)


if __name__ == "__main__":
    sys.exit(main())
