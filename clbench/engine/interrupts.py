"""Ctrl-C and SIGTERM end a run cleanly: the step in progress is finished and the state saved."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from clbench.errors import ClbenchError, in_a_line
from clbench.models import ranks

SAME_SECONDS = 5.0


class Interrupted(ClbenchError):
    """A run that was asked to stop and has saved its state."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Interrupts:
    """Remembers the signal that asked for an end."""

    received: int | None = None
    since = 0.0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: the first signal is remembered, a second one ends the process at once.

        Who ends a whole group of processes, as schedulers do, reaches a run's process twice: by itself, and through the
        one that started it. SIGTERM again right after SIGTERM is that.
        """
        if self.received is None:
            self.received, self.since = number, time.monotonic()
        elif not self.received == number == signal.SIGTERM or time.monotonic() - self.since > SAME_SECONDS:
            raise KeyboardInterrupt

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
