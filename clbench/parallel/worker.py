"""A run in a process of its own: kept to its cores, from a plan that was made and checked before."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from clbench.config import RunConfig
from clbench.errors import ClbenchError, RunError
from clbench.parallel.messages import Sender
from clbench.parallel.slots import Slot

# Nothing heavy above: torch reads how many threads it may have when it is loaded.


@dataclass(frozen=True)
class Order:
    """A run to be made.

    Attributes:
        config: its settings, resolved.
        tasks: the file with its tasks, which several runs read.
        notes, sources, shared: of the plan.
        slot: where it goes on.
        plugin_files: where plug-ins lie on this machine, as in ``config``.
    """

    config: RunConfig
    tasks: Path
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    shared: Path | None
    slot: Slot
    plugin_files: Mapping[str, str]


def work(order: Order, messages: Connection, answers: Connection, tells: type[Sender] = Sender) -> None:
    """Make the run of ``order``, and tell what happens; the process's only function.

    Args:
        order: the run.
        messages, answers: of who asked for it.
        tells: passes on what the run tells, and may tell others.
    """
    keep_to(order.slot)
    sender = tells(messages, answers, order.slot.device)
    try:
        _run(order, sender)
    except ClbenchError as error:
        sender.fail(error)
    except KeyboardInterrupt:  # a second signal, which means at once
        sys.exit(130)
    except Exception as error:  # before the run began, which tells of its own: tasks that cannot be read back
        sender.fail(RunError(f"its process could not begin: {type(error).__name__}: {error}"))


def keep_to(slot: Slot) -> None:
    """Keep this process to the cores of ``slot``, and out of reach of the terminal's Ctrl-C, which its parent gets."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, slot.cores)
    os.environ["OMP_NUM_THREADS"] = str(slot.threads)


def _run(order: Order, sender: Sender) -> None:
    import torch

    from clbench.engine import run_one
    from clbench.plugins import Plan, is_own_data, is_preset, load, rebuild_strategy

    torch.set_num_threads(order.slot.threads)
    config = order.config
    scenario = order.plugin_files.get(f"scenario:{config.scenario}")
    if scenario and not (is_own_data("scenario", scenario) or is_preset("scenario", scenario)):
        load("scenario", scenario)  # its file may define what its tasks are made of
    with order.tasks.open("rb") as file:
        tasks = pickle.load(file)  # written by our parent, for us
    strategy = rebuild_strategy(config.strategy, order.plugin_files, config.plugin_hashes)
    plans = [Plan(config, tasks, strategy, order.notes, order.sources, order.shared)]
    sender.finish(run_one(plans.pop(), sender))
