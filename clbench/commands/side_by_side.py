"""What `run --jobs` does with its plans: several at once, each in a process of its own, then the comparison."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack

from clbench.commands.board import Board
from clbench.commands.run import run_plans, tell_comparison, tell_run
from clbench.engine import Interrupted, Interrupts, watch
from clbench.errors import InputError, RunError
from clbench.parallel import Slot, Workers, devices_of, make_slots, usable_cores
from clbench.plugins import Plan
from clbench.results import Run

HEARD_WITHIN = 0.2  # seconds after which a signal is passed on


def run_with_jobs(plans: list[Plan], verbosity: int, jobs: int | None, jobs_per_gpu: int | None) -> int:
    """Run all plans one after another, or several at once where that is asked for.

    Args:
        plans: checked.
        verbosity: -1 to 1.
        jobs: how many at once; None for as many as cores and memory, or GPUs, allow.
        jobs_per_gpu: how many share a GPU; None for one.

    Raises:
        InputError: more jobs than there are places on GPUs.
        Interrupted: SIGINT or SIGTERM came; all states are saved.
    """
    if (jobs == 1 and jobs_per_gpu is None) or not plans:
        return run_plans(plans, verbosity)
    slots = make_slots(jobs, len(plans), devices_of(plans[0].config.device), usable_cores(), jobs_per_gpu)
    if len(slots) == 1:
        return run_plans(plans, verbosity)
    return run_side_by_side(plans, slots, jobs is None or jobs_per_gpu is not None, verbosity)


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
    board = Board(verbosity, len(plans))
    runs: dict[int, Run] = {}
    exit_codes = []
    with ExitStack() as entered:
        pool = entered.enter_context(ThreadPoolExecutor(len(slots)))
        signals = entered.enter_context(watch())
        workers = entered.enter_context(Workers(slots, measured, board.say))
        entered.callback(pool.shutdown, wait=False, cancel_futures=True)
        entered.enter_context(board)
        board.say(_places(slots))
        futures = {pool.submit(_run, workers, plan, board): number for number, plan in enumerate(plans)}
        for future in _as_they_end(futures, workers, signals):
            number = futures[future]
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
    if signals.received is not None:
        done = f"{len(runs)} of {len(plans)} runs are finished"
        raise Interrupted(f"stopped; {done}; give the same command again to go on", signals.received)
    tell_comparison([runs[number] for number in sorted(runs)], board)
    return 0 if not exit_codes else 1 if len(plans) > 1 else exit_codes[0]


def _run(workers: Workers, plan: Plan, board: Board) -> Run:
    config = plan.config
    with board.on_board(f"{config.strategy}, seed {config.seed}") as reporter:
        return workers.run(plan, reporter)


def _as_they_end(futures: dict[Future[Run], int], workers: Workers, signals: Interrupts) -> Iterator[Future[Run]]:
    """Each future when its run has ended; a signal meanwhile stops them all."""
    pending, told = set(futures), False
    while pending:
        ended, pending = wait(pending, HEARD_WITHIN, FIRST_COMPLETED)
        if signals.received is not None and not told:
            workers.stop(signals.received)
            told = True
        yield from sorted(ended, key=futures.__getitem__)


def _places(slots: Sequence[Slot]) -> str:
    """How many runs go on at once, and where."""
    first = slots[0]
    devices = sorted({slot.device for slot in slots} - {"cpu"})
    place = f" on {', '.join(devices)}" if devices else ""
    shared = len({core for slot in slots for core in slot.cores}) < sum(len(slot.cores) for slot in slots)
    cores = "sharing the cores" if shared else f"{len(first.cores)} core{'s' * (len(first.cores) > 1)} each"
    threads = f"{first.threads} thread{'s' * (first.threads > 1)}"
    return f"{len(slots)} at once{place}: {cores}, {threads} a run"
