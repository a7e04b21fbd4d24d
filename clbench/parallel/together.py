"""Calls that ask for runs, as many at once as there are slots, and what a signal does to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import TypeVar

from clbench.engine import Interrupted, Interrupts, watch
from clbench.parallel.slots import Slot
from clbench.parallel.workers import Workers

Result = TypeVar("Result")
HEARD_WITHIN = 0.2  # seconds after which a signal is passed on


class Together:
    """Inside its ``with`` block: workers, a thread for each to ask for runs, and SIGINT and SIGTERM noted.

    Attributes:
        workers: make the runs.
        signals: what came.

    Args:
        slots, measured, tell: as of :class:`Workers`.
    """

    signals: Interrupts

    def __init__(
        self, slots: Sequence[Slot], measured: bool = False, tell: Callable[[str], None] | None = None
    ) -> None:
        self.workers = Workers(slots, measured, tell)
        self._entered = ExitStack()
        self._told = False

    def __enter__(self) -> Together:
        """The threads end last: they wait for runs, which the workers end at once where a second signal came."""
        self._pool = self._entered.enter_context(ThreadPoolExecutor(len(self.workers.slots)))
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
