"""What `run --jobs` and `run --on ray` do with their plans: several at once, then the comparison."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from clbench.commands.board import Board
from clbench.commands.run import run_plans, tell_comparison, tell_run
from clbench.commands.tracked_worker import work_and_track
from clbench.commands.trackers import check_on_nodes, settings_of_trackers
from clbench.engine import Interrupted
from clbench.errors import InputError, RunError, unknown
from clbench.files import expand
from clbench.models import ranks
from clbench.parallel import (
    Demand,
    Makers,
    OnRay,
    Sent,
    Slot,
    Together,
    Workers,
    describe_cluster,
    describe_slots,
    devices_of,
    living_nodes,
    make_slots,
    ray_cluster,
    read_demand,
    usable_cores,
    work,
)
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
        InputError: more jobs than there are places on GPUs.
        Interrupted: SIGINT or SIGTERM came; all states are saved.
    """
    slots = find_slots(plans[0].config.device, len(plans), jobs, jobs_per_gpu) if plans else []
    with _shared(plans, sharing):
        if len(slots) < 2:
            return run_plans(plans, verbosity)
        board = Board(verbosity, len(plans))
        how = work_and_track if plans[0].config.track else work
        workers = Workers(slots, jobs is None or jobs_per_gpu is not None, board.say, how)
        return run_side_by_side(plans, workers, describe_slots(slots), board)


def find_slots(device: str, runs: int, jobs: int | None, jobs_per_gpu: int | None = None) -> list[Slot]:
    """Where so many ``runs`` on ``device`` will go on at once; none or one where they go one after another.

    Raises:
        InputError: as :func:`run_with_jobs`.
    """
    if jobs == 1 and jobs_per_gpu is None:
        return []
    return make_slots(jobs, runs, devices_of(device), usable_cores(), jobs_per_gpu)


def run_on_ray(plans: list[Plan], verbosity: int, address: str | None, demand: Demand, sharing: bool = True) -> int:
    """Run all plans on a cluster of Ray's, as many at once as it has room for.

    Args:
        plans: checked.
        verbosity: -1 to 1.
        address: of the cluster; None for the one that Ray knows, or this machine.
        demand: what each run has for itself.
        sharing: as of :func:`run_with_jobs`, where the results folder is on storage that the nodes share.

    Raises:
        InputError: Ray is not installed, there is no cluster, or none of its nodes has enough for a run.
        Interrupted: SIGINT or SIGTERM came; all states are saved.
    """
    if not plans:
        return 0
    config = plans[0].config
    sent = Sent(demand, expand(config.output_dir, "output_dir").absolute())
    if config.track:
        sent = replace(sent, work=work_and_track, environment=settings_of_trackers())
    with on_cluster(address, sent, len(plans)) as (makers, told), _shared(plans, sharing):
        return run_side_by_side(plans, makers, told, Board(verbosity, len(plans)))


@contextmanager
def on_cluster(address: str | None, sent: Sent, runs: int) -> Iterator[tuple[OnRay, str]]:
    """Who makes ``runs`` runs on a cluster of Ray's, and a line on where.

    Raises:
        InputError: as :func:`run_on_ray`.
    """
    with ray_cluster(address) as ray:
        yield OnRay(ray, sent, runs), describe_cluster(sent.demand, living_nodes(ray))


def find_demand(
    device: str,
    trackers: Sequence[str],
    on: str | None,
    address: str | None,
    resources: Sequence[str],
    jobs: str | None,
    jobs_per_gpu: int | None,
) -> Demand | None:
    """What each run on ``device``, told to ``trackers``, asks of a cluster where ``on`` says so; None for this machine.

    Raises:
        InputError: an option does not go with the others, or cannot be read.
    """
    if on is None:
        if alone := "--address" if address is not None else "--resources" if resources else "":
            raise InputError(f"{alone} says something of a cluster; give --on ray too, or leave it away")
        return None
    if on != "ray":
        raise unknown("--on", on, ("ray",))
    if jobs is not None:
        raise InputError(
            f"--jobs {jobs} cannot be given with --on ray, which finds places by --resources; leave it away"
        )
    check_on_nodes(trackers)
    return read_demand(resources, device, jobs_per_gpu)


@contextmanager
def _shared(plans: list[Plan], sharing: bool) -> Iterator[None]:
    """Inside, several plans have a folder for what they share.

    Processes that train one model together share nothing between runs: each would have to find the same there.
    """
    if not sharing or len(plans) < 2 or ranks.count() > 1:
        yield
        return
    with shared_folder(expand(plans[0].config.output_dir, "output_dir").absolute()) as folder:
        plans[:] = [replace(plan, shared=folder) for plan in plans]
        yield


def run_side_by_side(plans: Sequence[Plan], workers: Makers, told: str, board: Board) -> int:
    """Run all plans, as many at once as ``workers`` can, and print each summary when its run ends.

    A failed run, or one whose process dies, does not stop the others.

    Args:
        plans: checked; their comparison is in this order, whichever ends first.
        workers: make the runs.
        told: a line on where.
        board: shows them.

    Raises:
        Interrupted: SIGINT or SIGTERM came; all states are saved.
    """
    runs: dict[int, Run] = {}
    exit_codes = []
    with Together(workers) as together, board:
        board.say(told)
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
                tell_run(runs[number], config.profile, len(plans) > 1 and board.verbosity < 1, board)
    together.check(f"{len(runs)} of {len(plans)} runs are finished")
    tell_comparison([runs[number] for number in sorted(runs)], board)
    return 0 if not exit_codes else 1 if len(plans) > 1 else exit_codes[0]


def _run(together: Together, plan: Plan, board: Board) -> Run:
    config = plan.config
    with board.on_board(f"{config.strategy}, seed {config.seed}") as reporter:
        return together.workers.run(plan, reporter)
