"""What `run --jobs` does with its plans: several at once, each in a process of its own, then the comparison."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from clbench.commands.board import Board
from clbench.commands.run import run_plans, tell_comparison, tell_run
from clbench.engine import Interrupted
from clbench.errors import InputError, RunError
from clbench.files import expand
from clbench.parallel import Slot, Together, describe_slots, devices_of, make_slots, usable_cores
from clbench.plugins import Plan
from clbench.results import Run, shared_folder


def run_with_jobs(
    plans: list[Plan], verbosity: int, jobs: int | None, jobs_per_gpu: int | None, sharing: bool = True
) -> int:
    """Run all plans one after another, or several at once where that is asked for.

    Args:
        plans: checked.
        verbosity: -1 to 1.
        jobs: how many at once; None for as many as cores and memory, or GPUs, allow.
        jobs_per_gpu: how many share a GPU; None for one.
        sharing: measure what is the same before any training, and learn a first task that is the same, once for all.

    Raises:
        InputError: more jobs than there are places on GPUs, or a tracker, which one process tells of one run.
        Interrupted: SIGINT or SIGTERM came; all states are saved.
    """
    slots = find_slots(plans, jobs, jobs_per_gpu)
    with ExitStack() as entered:
        if sharing and len(plans) > 1:
            place = expand(plans[0].config.output_dir, "output_dir")
            shared = entered.enter_context(shared_folder(place.absolute()))
            plans[:] = [replace(plan, shared=shared) for plan in plans]
        if len(slots) < 2:
            return run_plans(plans, verbosity)
        return run_side_by_side(plans, slots, jobs is None or jobs_per_gpu is not None, verbosity)


def find_slots(plans: Sequence[Plan], jobs: int | None, jobs_per_gpu: int | None) -> list[Slot]:
    """Where the runs of ``plans`` will go on at once; none or one where they go one after another.

    Raises:
        InputError: as :func:`run_with_jobs`.
    """
    if not plans or (jobs == 1 and jobs_per_gpu is None):
        return []
    slots = make_slots(jobs, len(plans), devices_of(plans[0].config.device), usable_cores(), jobs_per_gpu)
    if len(slots) > 1 and (trackers := plans[0].config.track):
        raise InputError(f"--track {trackers[0]} is told of one run at a time; leave --jobs away, or --track")
    return slots


def run_side_by_side(plans: Sequence[Plan], slots: Sequence[Slot], measured: bool, verbosity: int) -> int:
    """Run all plans, as many at once as there are slots, and print each summary when its run ends.

    A failed run, or one whose process dies, does not stop the others.

    Args:
        plans: checked; their comparison is in this order, whichever ends first.
        slots: where they go on.
        measured: whether the first run shows how many there is memory for.
        verbosity: -1 to 1.

    Raises:
        Interrupted: SIGINT or SIGTERM came; all states are saved.
    """
    runs: dict[int, Run] = {}
    exit_codes = []
    board = Board(verbosity, len(plans))
    with Together(slots, measured, board.say) as together, board:
        board.say(describe_slots(slots))
        calls = [partial(_run, together, plan, board) for plan in plans]
        for number, future in together.as_they_end(calls):
            config = plans[number].config
            with board.aside():
                try:
                    runs[number] = future.result()
                except Interrupted:
                    continue
                except (InputError, RunError) as error:
                    exit_codes.append(error.exit_code)
                    print(f"error: {config.strategy}, seed {config.seed}: {error}", file=sys.stderr, flush=True)
                    continue
                tell_run(runs[number], config.profile, len(plans) > 1 and verbosity < 1, board)
    together.check(f"{len(runs)} of {len(plans)} runs are finished")
    tell_comparison([runs[number] for number in sorted(runs)], board)
    return 0 if not exit_codes else 1 if len(plans) > 1 else exit_codes[0]


def _run(together: Together, plan: Plan, board: Board) -> Run:
    config = plan.config
    with board.on_board(f"{config.strategy}, seed {config.seed}") as reporter:
        return together.workers.run(plan, reporter)
