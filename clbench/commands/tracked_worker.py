"""A run in a process of its own that tells its trackers by itself: `run --track --jobs`."""

from __future__ import annotations

from multiprocessing.connection import Connection

from clbench.commands.tracking import Tracking
from clbench.parallel import Order, Sender, work


class TrackingSender(Tracking, Sender):
    """Passes on what the run tells, and tells trackers: they keep what they know of a run in their process."""


def work_and_track(order: Order, messages: Connection, answers: Connection) -> None:
    """Make the run of ``order``; the process's only function."""
    work(order, messages, answers, TrackingSender)
