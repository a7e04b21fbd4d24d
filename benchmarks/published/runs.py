"""Runs a figure's protocol through the ordinary engine, and reads what is finished."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.published.protocols import Figure
from clbench.commands.progress import TerminalReporter
from clbench.config import make_config
from clbench.engine import run_one
from clbench.plugins import Made, Plan, canonical, make_plan, parse_expression
from clbench.results import Run, RunFolder, find_runs

METRIC = "average_accuracy"


def plan(figure: Figure, seed: int, output: Path, made: Made) -> Plan:
    """The run of ``figure`` with ``seed``, below a folder of the figure's own in ``output``.

    Args:
        figure: what is run.
        seed: the run's.
        output: folder of all figures' runs.
        made: data that earlier plans made, which this one adds to.

    Raises:
        InputError: its settings do not fit together.
    """
    return make_plan({**figure.options, "seed": seed, "output_dir": str(output / figure.name)}, made=made)


def run(figure: Figure, seeds: int, output: Path) -> None:
    """Run ``figure`` with the seeds from 0 on; what is finished is left as it is.

    Raises:
        InputError, RunError: as the engine.
    """
    finished = {int(each.config["seed"]) for each in finished_runs(figure, output)}
    made: Made = {}
    for seed in range(seeds):
        if seed not in finished:
            run_one(plan(figure, seed, output, made), TerminalReporter(0))


def finished_runs(figure: Figure, output: Path) -> list[Run]:
    """The finished runs of ``figure`` with the settings that its protocol has now, by seed."""
    folder = output / figure.name
    if not folder.is_dir():
        return []
    wanted = make_config({**figure.options, "strategy": as_recorded(figure.options["strategy"])}).model_dump()
    found = {
        int(run.config["seed"]): run
        for run in find_runs([folder])[0]
        if all(run.config.get(key) == wanted[key] for key in figure.options)
    }
    return [found[seed] for seed in sorted(found)]


def as_recorded(strategy: str) -> str:
    """The expression as a run's config has it: a file of this folder goes by its stem."""
    named = [(Path(each.name).stem if "/" in each.name else each.name, each) for each in parse_expression(strategy)]
    return canonical(tuple(replace(each, name=name) for name, each in named))


def accuracies(runs: list[Run]) -> list[float]:
    """The average accuracy of each run after its last task, 0 to 1."""
    return [float(run.result["metrics"][METRIC]) for run in runs]


def unclean(runs: list[Run]) -> list[Path]:
    """The folders of runs that were made with changes in no commit; one made outside of a repository has none."""
    return [run.folder for run in runs if RunFolder(run.folder).read_environment().get("dirty")]


def commits(runs: list[Run]) -> list[str]:
    """The commits that the runs were made with, each once."""
    return sorted({str(RunFolder(run.folder).read_environment().get("commit")) for run in runs})
