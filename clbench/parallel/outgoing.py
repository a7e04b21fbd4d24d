"""What is sent to a cluster for a run: its errand, its tasks, and the file that tells who sees our results folder."""

from __future__ import annotations

import os
import pickle
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from clbench.errors import InputError
from clbench.files import cache_folder
from clbench.parallel.demands import Demand
from clbench.parallel.errand import Errand, Probe
from clbench.parallel.luggage import pack, pack_folder, plugin_files, portable
from clbench.parallel.worker import work
from clbench.results import RunFolder

if TYPE_CHECKING:
    from clbench.plugins import Plan


@dataclass(frozen=True)
class Sent:
    """What is the same for all runs that are sent.

    Attributes:
        demand: what each has for itself.
        output: the results folder, absolute.
        work: what a run's process does, as of :class:`clbench.parallel.Workers`.
        environment: variables of this machine that it has, too.
    """

    demand: Demand
    output: Path
    work: Callable[..., None] = work
    environment: Mapping[str, str] = field(default_factory=dict)


def make_errand(plan: Plan, folder: RunFolder, sent: Sent, probe: Probe, again: bool) -> Errand:
    """The errand of ``plan``.

    Args:
        plan: the run.
        folder: what it has come to so far.
        sent: with it.
        probe: of :func:`write_probe`.
        again: whether a node was lost on which it had begun.
    """
    device = "cuda:0" if sent.demand.gpus else "cpu"  # Ray shows a task the GPUs that it has
    config = plan.config.model_copy(update={"output_dir": str(sent.output), "device": device})
    begun = pack_folder(folder.path) if os.path.exists(folder.path / "config.json") else None
    return Errand(
        config,
        plan.notes,
        plan.sources,
        plan.shared,
        sent.demand.threads,
        pack(plugin_files(config)),
        begun,
        probe,
        again,
        os.path.isdir(config.model),
        (Path.cwd(), cache_folder()),
        tuple(sys.argv),
        sent.work,
        sent.environment,
    )


def pickled_tasks(plan: Plan) -> bytes:
    """The plan's tasks, whatever file their rows lie in here.

    Raises:
        InputError: they cannot be pickled.
    """
    try:
        return pickle.dumps(tuple(map(portable, plan.tasks)), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # whatever pickling somebody's kind of task raises
        raise InputError(
            f"the tasks of {plan.config.scenario} cannot be sent to another machine "
            f"({type(error).__name__}: {error}); run them without --on ray"
        ) from error


def write_probe(output: Path) -> Probe:
    """A file by which a node sees whether the results folder is storage that it shares with this machine.

    Raises:
        InputError: it cannot be written.
    """
    path, content = output / f".clbench-probe-{secrets.token_hex(8)}", secrets.token_bytes(32)
    try:
        output.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise InputError(f"--output-dir {str(output)!r}: {error.strerror}") from error
    return path, content
