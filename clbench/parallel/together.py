"""Calls that ask for runs, as many at once as their makers can do, and what a signal does to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol, TypeVar

from clbench.engine import Interrupted, Interrupts, Reporter, watch

if TYPE_CHECKING:
    from clbench.plugins import Plan
    from clbench.results import Run

Result = TypeVar("Result")
HEARD_WITHIN = 0.2  # seconds after which a signal is passed on


class Makers(Protocol):
    """Whoever makes runs: processes of this machine, or a cluster.

    Attributes:
        at_once: from how many threads ``run`` may be called.
    """

    at_once: int

    def __enter__(self) -> Makers:
        """Runs may be asked for."""

    def __exit__(self, *_: object) -> None:
        """End what still runs, at once."""

    def run(self, plan: Plan, reporter: Reporter) -> Run:
        """Make a run; waits for its end."""

    def stop(self, number: int) -> None:
        """Have all runs save their state and end, because signal ``number`` came; none begins any more."""


class Together:
    """Inside its ``with`` block: makers of runs, a thread for each run to ask for, and SIGINT and SIGTERM noted.

    Attributes:
        workers: make the runs.
        signals: what came.
    """

    signals: Interrupts

    def __init__(self, workers: Makers) -> None:
        self.workers = workers
        self._entered = ExitStack()
        self._told = False

    def __enter__(self) -> Together:
        """The threads end last: they wait for runs, which the workers end at once where a second signal came."""
        self._pool = self._entered.enter_context(ThreadPoolExecutor(self.workers.at_once))
        self.signals = self._entered.enter_context(watch())
        self._entered.enter_context(self.workers)
        self._entered.callback(self._pool.shutdown, wait=False, cancel_futures=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._entered.close()

    def check(self, done: str = "") -> None:
        """Tell that a signal came, and what was ``done`` before.

        Raises:
            Interrupted: it did.
        """
        if self.signals.received is not None:
            told = [part for part in ("stopped", done, "give the same command again to go on") if part]
            raise Interrupted("; ".join(told), self.signals.received)

    def as_they_end(self, calls: Sequence[Callable[[], Result]]) -> Iterator[tuple[int, Future[Result]]]:
        """Each call's number and outcome when it has ended; a signal meanwhile stops all runs, their states saved."""
        futures = {self._pool.submit(call): number for number, call in enumerate(calls)}
        pending = set(futures)
        while pending:
            ended, pending = wait(pending, HEARD_WITHIN, FIRST_COMPLETED)
            if self.signals.received is not None and not self._told:
                self.workers.stop(self.signals.received)
                self._told = True
            yield from sorted(((futures[future], future) for future in ended), key=lambda pair: pair[0])
