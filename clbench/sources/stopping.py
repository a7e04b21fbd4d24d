"""Ctrl-C and SIGTERM end a fetch at once, also inside a run, which otherwise only notes them until its next step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class _Terminated(BaseException):
    """SIGTERM came; the process ends once it has tidied up."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Inside, the first SIGINT raises KeyboardInterrupt, and the first SIGTERM ends the process once that is left.

    A network or another process may be waited for without an end, and nothing has to be saved. A client that was
    started inside is ended by ``subprocess``. Outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    except _Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(*_: object) -> NoReturn:
    raise _Terminated
