"""What a run's process does in tests of those that ask for it: nothing that takes time."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

from clbench.engine import Interrupted, Stopped
from clbench.errors import InputError
from clbench.parallel.messages import Sender
from clbench.parallel.worker import Order, keep_to


def tells_its_place(order: Order, messages: Connection, answers: Connection) -> None:
    """Its cores, threads, device, whether it leads a process group of its own, and the tasks' file."""
    keep_to(order.slot)
    place = (tuple(sorted(os.sched_getaffinity(0))), os.environ["OMP_NUM_THREADS"], order.config.device)
    Sender(messages, answers, "cpu").finish((*place, os.getpgid(0) == os.getpid(), order.tasks.name))  # type: ignore[arg-type]


def tells_all(_: Order, messages: Connection, answers: Connection) -> None:
    sender = Sender(messages, answers, "cpu")
    sender.say("a line")
    sender.warn("a warning")
    sender.note("a note")
    sender.start_task("kitchen 1/3", 10, 2)
    sender.step(4, 16, 0.5)
    sender.row("before training", ["kitchen"], [None])
    sender.close()
    sender.fail(InputError("refused"))


def is_killed(order: Order, messages: Connection, answers: Connection) -> None:
    if order.config.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    Sender(messages, answers, "cpu").finish(order.config.seed)  # type: ignore[arg-type]


def goes_on_until_stopped(order: Order, messages: Connection, answers: Connection) -> None:
    """As a run that saves its state when SIGTERM comes."""
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    sender = Sender(messages, answers, "cpu")
    sender.say("begun")
    while not received:
        time.sleep(0.01)
    if order.config.scenario != "toy":  # the file that tells that its state is saved
        Path(order.config.scenario).touch()
    sender.fail(Interrupted("saved", signal.SIGTERM))


def tells_rows(_: Order, messages: Connection, answers: Connection) -> None:
    sender = Sender(messages, answers, "cpu")
    try:
        for number in range(100):
            sender.row(f"row {number}", [], [])
    except Stopped as error:
        sender.fail(error)


def takes_memory(order: Order, messages: Connection, answers: Connection) -> None:
    """Tells what it takes once it has waited for others to begin, had they been let."""
    sender = Sender(messages, answers, "cpu")
    sender.say("begun")
    if order.config.seed == 0:
        time.sleep(0.7)
        sender.send("memory", 10 * 2**30, 13 * 2**30)
    sender.finish(order.config.seed)  # type: ignore[arg-type]
