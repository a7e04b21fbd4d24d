"""What `run` and `resume` do with their plans: one after another, each with its summary, then the comparison."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from typing import Any

from clbench import report
from clbench.commands.figures import draw_run, drawn
from clbench.commands.launched import stay_together
from clbench.commands.terminal import terminal_width
from clbench.commands.tracking import TrackingReporter
from clbench.engine import Reporter, profile_lines, run_one
from clbench.errors import InputError, RunError
from clbench.models import ranks, release_memory
from clbench.plugins import Plan
from clbench.results import Run
from clbench.text import clean


def run_plans(plans: list[Plan], verbosity: int) -> int:
    """Run each plan and print its summary; of several a line each, unless verbose, and their comparison.

    A failed run does not stop the others.
    ``plans`` is emptied: what a finished run kept in memory must be gone before the next one starts.
    """
    reporter = TrackingReporter(verbosity) if ranks.is_first() else Reporter()
    run: Run | None
    several, runs = len(plans) > 1, []
    exit_codes: list[int] = []
    while plans:
        config = plans[0].config
        if several:
            reporter.say(f"{config.strategy} on {config.scenario}, {config.model}, seed {config.seed}")
        try:
            run = run_one(plans.pop(0), reporter)  # no name for the plan here: it would keep the run's memory
        except (InputError, RunError) as error:
            stay_together(len(exit_codes), error)
            print(f"error: {config.strategy}, seed {config.seed}: {error}", file=sys.stderr)
            exit_codes.append(error.exit_code)
            run = None
        if run is None:
            release_memory()  # until here its error kept what the run had
            continue
        runs.append(run)
        if ranks.is_first():
            tell_run(run, config.profile, several and verbosity < 1, reporter)
    if ranks.is_first():
        tell_comparison(runs, reporter)
    return 0 if not exit_codes else 1 if several else exit_codes[0]


def tell_run(run: Run, profile: bool, brief: bool, reporter: Reporter) -> None:
    """Print what a finished run came to, in a line if ``brief``, and draw its figures."""
    _print_result(run, brief)
    if profile:
        _print_profile(run.result)
    draw_run(run, reporter)


def tell_comparison(runs: Sequence[Run], reporter: Reporter) -> None:
    """Print the comparison of several finished runs and draw it; of one there is none."""
    if len(runs) > 1:
        print(f"\n{report.render(report.compare(runs), width=terminal_width())}", flush=True)
        _draw_comparison(runs, reporter)


def _print_result(run: Run, brief: bool) -> None:
    """What a run came to: a line where it is one of several, else its matrix, metrics and costs."""
    if brief:
        print(f"{report.result_line(run.result)}; {clean(str(run.folder))}", flush=True)
    else:
        print(f"{report.result_summary(run.result)}\nrun folder: {run.folder}\n", flush=True)


def _print_profile(result: dict[str, Any]) -> None:
    if "profile" not in result["cost"]:
        print("no profile: the run was finished without --profile; give --overwrite to run it again\n", file=sys.stderr)
        return
    print("\n".join([*profile_lines(result["cost"]["profile"]), ""]))


def _draw_comparison(runs: Sequence[Run], reporter: Reporter) -> None:
    """Curves and trade-off of several runs, beside the strategies' folders."""
    names = "\n".join(sorted(run.folder.name + str(run.result["strategy"]) for run in runs))
    stem = f"comparison-{hashlib.sha256(names.encode()).hexdigest()[:8]}"
    folder = runs[0].folder.parents[1]
    for name, draw in (("curves", report.plot_curves), ("tradeoff", report.plot_tradeoff)):
        if drawn(draw, runs, path := folder / f"{stem}-{name}.png", reporter):
            print(f"plot: {path}")
