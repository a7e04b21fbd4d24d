"""Runs at once: each in a fresh process of its own, in the place of a slot; whoever asks for one waits for its end.

The processes are fresh ones (multiprocessing's "spawn"), not copies of this one: torch, OpenMP and Arrow have threads
here, whose locks a copy would inherit without the threads that hold them, and CUDA cannot be used in a copy at all.
What a fresh process has to import takes about 3 s of one core, and nothing of one run stays for the next.
"""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.engine import Interrupted, Reporter
from clbench.errors import InputError, ProcessDied, RunError
from clbench.parallel.memory import with_room
from clbench.parallel.messages import receive
from clbench.parallel.slots import Slot
from clbench.parallel.worker import Order, work

if TYPE_CHECKING:
    from clbench.plugins import Plan
    from clbench.results import Run


class Workers:
    """Makes runs in processes of their own; :meth:`run` is called from as many threads as there are slots.

    Attributes:
        at_once: how many.

    Args:
        slots: where runs go on.
        measured: begin with one run alone, and use as many slots as there is memory for by what it takes.
        tell: takes a line on how many those are.
        work: what a process does.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        measured: bool = False,
        tell: Callable[[str], None] | None = None,
        work: Callable[..., None] = work,
    ) -> None:
        self.slots, self._tell, self._work = list(slots), tell or Reporter().say, work
        self.at_once = len(self.slots)
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        self._measured = not measured
        for slot in self.slots[:1] if measured else self.slots:
            self._free.put(slot)
        self._lock = threading.RLock()
        self._running: set[BaseProcess] = set()
        self._tasks: dict[tuple[int, ...], tuple[Sequence[Any], Path]] = {}
        self._stopped: int | None = None

    def __enter__(self) -> Workers:
        self._folder = tempfile.TemporaryDirectory(prefix="clbench-")
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs, at once; after :meth:`stop` and its runs' ends there is nothing."""
        with self._lock:
            self._stopped = self._stopped or signal.SIGTERM
            for process in self._running:
                process.kill()
        self._folder.cleanup()

    def run(self, plan: Plan, reporter: Reporter) -> Run:
        """Make the run of ``plan`` as soon as a slot is free, in a process of its own.

        Raises:
            InputError, RunError: as the engine; also where the process died.
            Interrupted: after :meth:`stop`; its state is saved.
        """
        slot = self._free.get()
        try:
            return self._run(plan, slot, reporter)
        finally:
            self._free.put(slot)

    def stop(self, number: int) -> None:
        """Have all runs save their state and end, because signal ``number`` came; none begins any more."""
        with self._lock:
            self._stopped = number
            for process in self._running:
                process.terminate()

    def _run(self, plan: Plan, slot: Slot, reporter: Reporter) -> Run:
        config = plan.config.model_copy(update={"device": slot.device})
        tasks, files = self._tasks_file(plan), config.plugin_files
        return self.make(Order(config, tasks, plan.notes, plan.sources, plan.shared, slot, files), reporter)

    def make(self, order: Order, reporter: Reporter) -> Run:
        """Make the run of ``order`` at once; as :meth:`run`, for who has chosen its place."""
        process, messages, answers = self._start(order)
        try:
            run: Run | None = receive(messages, answers, reporter, self._make_room)
            wait([process.sentinel])
        except Interrupted as error:
            if self._stopped is None:  # somebody stopped this run alone
                raise RunError(str(error)) from error
            raise
        finally:
            messages.close()
            answers.close()  # which stops it, where the reporter failed
            wait([process.sentinel])
            with self._lock:
                process.join()
                self._running.discard(process)
        if run is not None:
            return run
        if self._stopped is not None:
            raise Interrupted("stopped", self._stopped)
        raise ProcessDied(f"{_death(process.exitcode)}; run the same command again to go on")

    def _start(self, order: Order) -> tuple[BaseProcess, Any, Any]:
        context = multiprocessing.get_context("spawn")
        messages, theirs = context.Pipe(duplex=False)
        their_answers, answers = context.Pipe(duplex=False)
        process = context.Process(target=self._work, args=(order, theirs, their_answers))
        with self._lock:
            if self._stopped is not None:
                raise Interrupted("stopped", self._stopped)
            process.start()
            self._running.add(process)
        theirs.close()  # so that the messages end when the process does
        their_answers.close()
        return process, messages, answers

    def _tasks_file(self, plan: Plan) -> Path:
        """The file with the plan's tasks, which is written once for all plans that share them."""
        key = tuple(map(id, plan.tasks))
        with self._lock:
            if key not in self._tasks:
                path = Path(self._folder.name) / f"tasks{len(self._tasks)}.pickle"
                try:
                    path.write_bytes(pickle.dumps(tuple(plan.tasks), protocol=pickle.HIGHEST_PROTOCOL))
                except OSError as error:
                    raise RunError(f"{path}: cannot be written: {error.strerror}") from error
                except Exception as error:  # whatever pickling somebody's kind of task raises
                    raise InputError(
                        f"the tasks of {plan.config.scenario} cannot be handed to another process "
                        f"({type(error).__name__}: {error}); run them with --jobs 1"
                    ) from error
                self._tasks[key] = plan.tasks, path
            return self._tasks[key][1]

    def _make_room(self, peak: int, left: int | None) -> None:
        """Open the slots for which there is memory, once the first run has shown what it takes."""
        with self._lock:
            if self._measured:
                return
            self._measured = True
        fitting = with_room(self.slots, peak, left)
        if len(fitting) < len(self.slots):
            rest = "" if left is None else f", {left / 2**30:.1f} GiB are left"
            self._tell(
                f"memory is enough for {len(fitting)} of {len(self.slots)} runs at once: "
                f"one takes {peak / 2**30:.1f} GiB{rest}"
            )
        for slot in fitting[1:]:
            self._free.put(slot)


def _death(code: int | None) -> str:
    """How a process ended that said nothing."""
    if code is None or code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = ", as the system does where memory runs out" if -code == getattr(signal, "SIGKILL", None) else ""
    return f"its process was ended by {name}{hint}"
