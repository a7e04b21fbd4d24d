"""Ctrl-C and SIGTERM end a run cleanly: the step in progress is finished and the state saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from clbench.errors import ClbenchError, in_a_line
from clbench.models import ranks


class Interrupted(ClbenchError):
    """A run that was asked to stop and has saved its state."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Interrupts:
    """Remembers the signal that asked for an end."""

    received: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: the first signal is remembered, a second one ends the process at once."""
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def agreed(self) -> int | None:
        """The signal that came to this process, or to any that trains with it: all stop at the same step."""
        return ranks.largest(self.received or 0) or None


@contextmanager
def watch() -> Iterator[Interrupts]:
    """Inside, SIGINT and SIGTERM are noted instead of ending the process; outside the main thread nothing changes.

    Raises:
        Interrupted: what was inside failed after a signal had come, so that nobody has acted on it.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.signal(number, interrupts.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    except (Exception, SystemExit) as error:
        if interrupts.received is None or isinstance(error, Interrupted):
            raise
        reason = str(error) if isinstance(error, ClbenchError) else in_a_line(error)
        raise Interrupted(f"stopped after a failure: {reason}", interrupts.received) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
