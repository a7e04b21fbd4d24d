"""A run that was sent to another machine: made there in a process of its own, in the asker's results folder or apart.

Where the folder is visible from here, which is found out and not assumed, the run goes on in it. Else it goes on in a
folder of this machine, and its files are sent back as a whole when it ends, whichever way it ends.
"""

from __future__ import annotations

import os
import platform
import queue
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clbench.config import RunConfig
from clbench.engine import Reporter, run_folder
from clbench.errors import ClbenchError, InputError, RunError
from clbench.files import read_file
from clbench.parallel.luggage import pack_folder, unpack, unpacked_plugins
from clbench.parallel.messages import FAILED, FINISHED, TOLD
from clbench.parallel.slots import Slot, usable_cores
from clbench.parallel.worker import Order
from clbench.parallel.workers import Workers
from clbench.results import Run

HERE, FILES = "here", "files"
ASKED_EVERY = 1.0  # seconds between two questions whether the run is to end
ANSWERED_WITHIN = 15.0  # seconds after which it is asked once more
LOCKED_FOR = 120.0  # seconds that a lost node's lock may outlive it

Message = tuple[str, tuple[Any, ...]]
Probe = tuple[Path, bytes]


@dataclass(frozen=True)
class Errand:
    """A run to be made elsewhere.

    Attributes:
        config: its settings; the output folder is the asker's, absolute.
        notes, sources, shared: of the plan.
        threads: of torch.
        plugins: files of plug-ins, packed.
        begun: the run's folder as it is, packed; None where there is none.
        probe: a file in the asker's output folder, and what stands in it.
        again: whether a node was lost on which it had begun.
        own_model: whether the model is a folder of the asker's.
        places: the asker's working folder and its cache folder.
        command: the asker's arguments, for environment.json.
        work: what the run's process does.
        environment: variables that it has besides its node's own.
    """

    config: RunConfig
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    shared: Path | None
    threads: int
    plugins: bytes
    begun: bytes | None
    probe: Probe
    again: bool
    own_model: bool
    places: tuple[Path, Path]
    command: tuple[str, ...]
    work: Callable[..., None]
    environment: Mapping[str, str]


class Asked:
    """Asks again and again whether a signal came, and never waits for the answer: a run goes on meanwhile.

    Args:
        ask: asks once; None is the answer where none came.
    """

    def __init__(self, ask: Callable[[], Future[int | None]]) -> None:
        self._ask, self._answer, self._since = ask, ask(), time.monotonic()

    def signal(self) -> int | None:
        """The signal, if one is known to have come; SIGTERM where there is nobody to ask any more."""
        passed, number = time.monotonic() - self._since, None
        if self._answer.done():
            number = signal.SIGTERM if self._answer.exception() is not None else self._answer.result()
        if passed > (ASKED_EVERY if self._answer.done() else ANSWERED_WITHIN):
            self._answer, self._since = self._ask(), time.monotonic()
        return number


def run_errand(errand: Errand, tasks: bytes, ask: Callable[[], Future[int | None]]) -> Iterator[Message]:
    """Make the run; what it tells, the files where they are not in place, and at last what it came to.

    Args:
        errand: the run.
        tasks: its tasks, pickled.
        ask: asks for the signal that came where the run was asked for, if one did.
    """
    home = run_folder(errand.config).path
    with tempfile.TemporaryDirectory(prefix="clbench-run-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        visible = is_visible(*errand.probe)
        config = errand.config if visible else errand.config.model_copy(update={"output_dir": str(place / "results")})
        folder = run_folder(config).path
        yield HERE, (platform.node(), visible)
        try:
            if not visible and errand.begun is not None:
                unpack(errand.begun, folder)
            _take_ones_place(errand)
            if visible and errand.again:
                _wait_for_lock(folder)
            order = _order(errand, config, tasks, place)
            run = yield from _told(order, errand.work, Asked(ask), folder, home)
            own = {**run.config, "output_dir": errand.config.output_dir}
            last: Message = FINISHED, (Run(home, run.result, own),)
        except ClbenchError as error:
            last = FAILED, (type(error).__name__, _at_home(str(error), folder, home))
        if not visible and folder.exists():
            yield FILES, (pack_folder(folder),)
        yield last


def is_visible(probe: Path, content: bytes) -> bool:
    """Whether the asker's file ``probe`` with ``content`` is seen from here, so that its folder is shared storage."""
    try:
        return read_file(probe) == content
    except OSError:
        return False


def _take_ones_place(errand: Errand) -> None:
    """Be where the asker is and use its cache, as far as they are visible from here."""
    working, cache = errand.places
    with suppress(OSError):
        os.chdir(working)
    if os.path.isdir(cache):
        os.environ["CLBENCH_CACHE"] = str(cache)
    sys.argv = list(errand.command)
    os.environ.update(errand.environment)
    if errand.own_model and not os.path.isdir(errand.config.model):
        raise InputError(
            f"the model's folder {errand.config.model!r} is not on {platform.node()}; put it where all nodes see it"
        )


def _order(errand: Errand, config: RunConfig, tasks: bytes, place: Path) -> Order:
    """What the run's process is told, once all files are in ``place``."""
    unpack(errand.plugins, place / "plugins")
    try:
        (place / "tasks.pickle").write_bytes(tasks)
    except OSError as error:
        raise RunError(f"{place}: cannot be written: {error.strerror}") from error
    shared = errand.shared if errand.shared is not None and os.path.isdir(errand.shared) else None
    slot = Slot(config.device, usable_cores(), errand.threads)
    files = unpacked_plugins(config, place / "plugins")
    return Order(config, place / "tasks.pickle", errand.notes, errand.sources, shared, slot, files)


def _wait_for_lock(folder: Path) -> None:
    """Until what still works on the run elsewhere has noticed that its node is lost, or has gone with it."""
    if folder.exists():
        with suppress(Timeout, OSError), FileLock(folder / ".lock", timeout=LOCKED_FOR):
            pass  # after that the run itself tells who has it


class _Passing(Reporter):
    """Puts what a run tells into a queue."""

    def __init__(self, told: queue.SimpleQueue[Message]) -> None:
        for name in TOLD:
            setattr(self, name, lambda *values, name=name: told.put((name, values)))


def _told(
    order: Order, work: Callable[..., None], asked: Asked, folder: Path, home: Path
) -> Generator[Message, None, Run]:
    """What the run tells until it ends; returns what it came to."""
    told: queue.SimpleQueue[Message] = queue.SimpleQueue()
    told_to_stop = False
    # Leaving it ends the run where nobody listens any more.
    with ThreadPoolExecutor(1) as thread, Workers([order.slot], work=work) as workers:
        run = thread.submit(workers.make, order, _Passing(told))
        while not run.done() or not told.empty():
            with suppress(queue.Empty):
                name, values = told.get(timeout=ASKED_EVERY)
                yield name, tuple(_at_home(value, folder, home) for value in values)
            if not told_to_stop and (number := asked.signal()) is not None:
                workers.stop(number)
                told_to_stop = True
        return run.result()


def _at_home(value: Any, folder: Path, home: Path) -> Any:
    """What names ``folder`` names the place where it will be."""
    if isinstance(value, Path):
        return home if value == folder else value
    return value.replace(str(folder), str(home)) if isinstance(value, str) else value
