"""`clbench tune`: options into spaces and effort, progress on stderr, the chosen values on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from clbench.advice import RUNS, read_duration
from clbench.commands.planning import check_length, key_values, with_options
from clbench.commands.progress import TerminalReporter
from clbench.commands.side_by_side import find_demand, find_slots, on_cluster
from clbench.config import read_config_file
from clbench.engine import Reporter
from clbench.errors import InputError, RunError
from clbench.files import expand
from clbench.models import choose_device
from clbench.parallel import (
    Makers,
    Sent,
    Slot,
    Together,
    Workers,
    describe_slots,
    read_jobs,
)
from clbench.results import Tuned, write_tuned
from clbench.text import clean, text_table
from clbench.tuning import Effort, at_the_edge, read_search, tune

# What a tuning decides itself, or is given otherwise.
DECIDED = ("scenario", "scenario_args", "strategy", "seed", "eval_split", "first_tasks", "tuned", "output_dir")


def read_settings(path: Path | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The training settings in a YAML file; none without a file; with the options over them.

    Raises:
        InputError: it cannot be read, or has a setting that is no setting of training, or that tuning decides.
    """
    settings = {} if path is None else read_config_file(path)
    for name in settings:
        if name in DECIDED:
            raise InputError(
                f"setting {name!r} in {str(path)!r} is not allowed in a tuning; allowed: those of training"
            )
    given = with_options(settings, options)
    check_length(given)
    return given


def run(
    options: Mapping[str, Any],
    strategies: Sequence[str],
    scenario_arguments: Sequence[str],
    search: Sequence[str],
    output: Path,
    output_dir: str,
    *,
    trials: int,
    tasks: int | None,
    seeds: int,
    budget: str | None,
    jobs: str | None,
    on: str | None,
    address: str | None,
    resources: Sequence[str],
    quiet: bool,
) -> int:
    """Tune, write the file and print what was chosen.

    Raises:
        InputError: wrong options.
        RunError: nothing could be chosen for a strategy; what was chosen for the others is written.
    """
    if output.suffix not in (".yaml", ".yml"):
        raise InputError(f"-o {str(output)!r} is not allowed; allowed: a .yaml file")
    at_once, output = read_jobs(jobs), expand(output, "--output")
    effort = Effort(trials, tasks, seeds, None if budget is None else read_duration(budget))
    given = {**options, "scenario_args": key_values(scenario_arguments)}
    folder = expand(output_dir, "--output-dir") / "tuning"
    reporter = TerminalReporter(-1 if quiet else 0)
    spaces = read_search(search)
    device = str(choose_device(options.get("device", "auto")))
    demand = find_demand(device, (), on, address, resources, jobs, None)
    makers: Makers | None
    count = len(set(strategies))
    with ExitStack() as entered:
        if demand is None:
            makers = _workers(find_slots(device, count, at_once), at_once, reporter)
        else:
            sent = Sent(demand, (folder / RUNS).absolute())
            makers, told = entered.enter_context(on_cluster(address, sent, count))
            reporter.say(told)
        together = None if makers is None else entered.enter_context(Together(makers))
        entries = tune(given, strategies, folder, reporter, effort, spaces, together)
    if not entries:
        kept = f"{output} is left as it was" if output.exists() else f"{output} is not written"
        raise RunError(f"no strategy has values; {kept}; the trials' runs are in {folder}")
    write_tuned(output, entries)
    print(f"{table(entries)}\n{clean(str(output))}")
    for name, entry in entries.items():
        for line in at_the_edge(name, entry):
            reporter.warn(line)
    if len(entries) < len(set(strategies)):
        raise RunError(f"not every strategy has values; the trials' runs are in {folder}")
    return 0


def _workers(slots: list[Slot], jobs: int | None, reporter: Reporter) -> Workers | None:
    """Processes for trials of several strategies at once; None where they go one after another."""
    if len(slots) < 2:
        return None
    reporter.say(describe_slots(slots))
    return Workers(slots, jobs is None, reporter.say)


def table(entries: Mapping[str, Tuned]) -> str:
    """Each strategy with its values, its score on dev, and that of the first trial, which has the usual values."""
    rows = [
        [
            clean(name),
            f"{entry.dev_score:.3f}",
            "-" if entry.tried[0].score is None else f"{entry.tried[0].score:.3f}",
            str(entry.trials),
            clean(", ".join(f"{key}={value}" for key, value in entry.values.items())),
        ]
        for name, entry in entries.items()
    ]
    return text_table(["strategy", "dev", "trial 1", "trials", "values"], rows)
