"""Runs on a cluster of Ray's: each a task that has its cores, and its GPU or a part of one, wherever there is room.

Only public functions of Ray are used: https://docs.ray.io
"""

from __future__ import annotations

import os
import pickle
import secrets
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from clbench.engine import Interrupted, Reporter, Stopped, remove_checkpoint, run_folder, run_one
from clbench.errors import ClbenchError, RunError
from clbench.parallel import stub
from clbench.parallel.errand import FILES, HERE
from clbench.parallel.luggage import bring_home, pack_code
from clbench.parallel.messages import ERRORS, FAILED, FINISHED
from clbench.parallel.outgoing import Sent, make_errand, pickled_tasks, write_probe
from clbench.results import Run, RunFolder

if TYPE_CHECKING:
    from clbench.plugins import Plan

ATTEMPTS = 4  # of a run whose nodes are lost
LOOKED_EVERY = 1.0  # seconds
SETTLED_WITHIN = 300.0  # seconds
MOST_AT_ONCE = 1024  # each has a thread here that waits for it
Message = tuple[str, tuple[Any, ...]]


class Lost(Exception):
    """A node is gone, with the run that went on on it; the message says when."""


class OnRay:
    """Makes runs on a cluster; :meth:`run` is called from as many threads as there are runs, and Ray finds the places.

    Args:
        ray: connected to the cluster.
        sent: with each run.
        at_once: from so many threads :meth:`run` will be called, or from MOST_AT_ONCE.
    """

    def __init__(self, ray: Any, sent: Sent, at_once: int) -> None:
        self.at_once = min(MOST_AT_ONCE, at_once)
        self._ray, self._with_all = ray, sent
        self._lock = threading.Lock()
        self._sent: dict[Any, bool] = {}  # what was sent, and whether it has begun
        self._tasks: dict[tuple[int, ...], tuple[Sequence[Any], Any]] = {}
        self._stopped: int | None = None

    def __enter__(self) -> OnRay:
        ray, self._entered = self._ray, ExitStack()
        ray.cloudpickle.register_pickle_by_value(stub)
        self._entered.callback(ray.cloudpickle.unregister_pickle_by_value, stub)
        self._code = ray.put(pack_code())
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._switch = ray.remote(num_cpus=0)(stub.Switch).options(scheduling_strategy=here).remote()
        try:
            ray.get(self._switch.stopped.remote(""), timeout=SETTLED_WITHIN)  # before runs take the places
        except ray.exceptions.GetTimeoutError as error:
            raise RunError(f"the cluster began no process on this machine within {SETTLED_WITHIN:.0f} s") from error
        self._task = ray.remote(max_retries=0)(stub.make_run)
        self._probe = write_probe(self._with_all.output)
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel what was sent and has not ended, at once."""
        with self._lock:
            self._stopped = self._stopped or signal.SIGTERM
            left = list(self._sent)
        for each in left:
            self._cancel(each, force=True)
        self._probe[0].unlink(missing_ok=True)
        self._entered.close()

    def stop(self, number: int) -> None:
        """Have all runs save their state and end, because signal ``number`` came; none begins any more."""
        with self._lock:
            self._stopped = number
            waiting = [each for each, begun in self._sent.items() if not begun]
        self._switch.stop.remote(number)
        for each in waiting:
            self._cancel(each, force=False)

    def run(self, plan: Plan, reporter: Reporter) -> Run:
        """Make the run of ``plan`` where there is room; on another node from where it was if its node is lost.

        Raises:
            InputError, RunError: as the engine; also where nodes are lost again and again.
            Stopped: ``reporter`` stopped it at a row; it is told so within a second or two, and has ended.
            Interrupted: after :meth:`stop`; its state is saved.
        """
        folder, config = run_folder(plan.config), plan.config
        if os.path.exists(folder.path / "result.json") and not (config.overwrite or config.save_model):
            return run_one(plan, reporter)  # which reads it
        folder.create()
        for attempt in range(ATTEMPTS):
            try:
                return self._send(plan, folder, reporter, attempt > 0)
            except Lost as lost:
                if attempt + 1 < ATTEMPTS:
                    reporter.warn(str(lost))
        raise RunError(f"its nodes were lost {ATTEMPTS} times; run the same command again to go on")

    def _send(self, plan: Plan, folder: RunFolder, reporter: Reporter, again: bool) -> Run:
        demand, config, name = self._with_all.demand, plan.config, secrets.token_hex(8)
        errand = pickle.dumps(make_errand(plan, folder, self._with_all, self._probe, again))
        task = self._task.options(
            num_cpus=demand.cpus,
            num_gpus=demand.gpus,
            memory=demand.memory or None,
            resources=dict(demand.others) or None,
            num_returns="streaming",
            name=f"{config.strategy}, seed {config.seed}",
        )
        tasks = self._tasks_of(plan)
        with self._lock:
            if self._stopped is not None:
                raise Interrupted("stopped", self._stopped)
            sent = task.remote(self._code, errand, tasks, self._switch, name)
            self._sent[sent] = False
        try:
            with ExitStack() as held:
                return self._receive(sent, name, folder, reporter, held)
        finally:
            with self._lock:
                self._sent.pop(sent, None)

    def _receive(self, sent: Any, name: str, folder: RunFolder, reporter: Reporter, held: ExitStack) -> Run:
        """Pass on what the run tells, until it ends.

        Args:
            sent: the task.
            name: by which the switch knows it.
            folder: the run's, here.
            reporter: is told.
            held: takes the lock of ``folder``, where the run goes on elsewhere.
        """
        node, visible, enough = "", False, None
        try:
            for told, values in self._messages(sent):
                if told == HERE:
                    node, visible = values
                    self._note_begin(sent)
                    if not visible:
                        self._hold(folder, sent, held)
                elif told == FILES:
                    bring_home(values[0], folder, self._with_all.output)
                elif enough is not None and told in (FINISHED, FAILED):
                    remove_checkpoint(folder.checkpoint)  # as the engine does where it is stopped
                    raise enough
                elif told == FINISHED:
                    return Run(folder.path, values[0].result, values[0].config)
                elif told == FAILED:
                    kind, text = values
                    raise Interrupted(text, self._signal()) if kind == Interrupted.__name__ else ERRORS[kind](text)
                else:
                    enough = enough or self._tell(reporter, told, values, name)
        except self._ray.exceptions.TaskCancelledError as error:
            raise Interrupted("stopped before it began", self._signal()) from error
        except self._ray.exceptions.RayTaskError as error:
            cause = " ".join(str(error.cause).split())[:300]
            raise RunError(f"it could not be made on its node: {type(error.cause).__name__}: {cause}") from error
        except self._ray.exceptions.RayError as error:
            if enough is not None:
                raise enough from error
            if self._stopped is not None:
                raise Interrupted("stopped", self._stopped) from error
            raise Lost(_tell_loss(node, visible)) from error
        raise enough or Lost(_tell_loss(node, visible))

    def _messages(self, sent: Any) -> Iterator[Message]:
        """What a task tells; what Ray raises where it was cancelled, or its node is gone.

        Raises:
            Interrupted: after :meth:`stop`, where it has not begun; Ray need not say so of what it cancelled in time.
        """
        while True:
            ready, _ = self._ray.wait([sent], timeout=LOOKED_EVERY)
            if ready:
                try:
                    reference = next(sent)
                except StopIteration:
                    return
                yield self._ray.get(reference)
            elif self._stopped is not None and not self._sent[sent]:
                raise Interrupted("stopped before it began", self._stopped)

    def _tell(self, reporter: Reporter, told: str, values: tuple[Any, ...], name: str) -> Stopped | None:
        """Tell ``reporter``; what it raises where it has seen enough of the run, which then is told to end."""
        try:
            getattr(reporter, told)(*values)
        except Stopped as error:
            self._switch.stop.remote(signal.SIGTERM, name)
            return error
        return None

    def _note_begin(self, sent: Any) -> None:
        with self._lock:
            self._sent[sent] = True

    def _signal(self) -> int:
        return self._stopped or signal.SIGTERM

    def _hold(self, folder: RunFolder, sent: Any, held: ExitStack) -> None:
        """Let nobody else make the run in ``folder`` meanwhile; who does already goes on, and ``sent`` does not."""
        try:
            held.enter_context(folder.locked())
        except ClbenchError:
            self._cancel(sent, force=True)
            raise

    def _tasks_of(self, plan: Plan) -> Any:
        """Ray's reference to the plan's tasks, which are sent once to each node for all plans that share them."""
        key = tuple(map(id, plan.tasks))
        with self._lock:
            if key not in self._tasks:
                self._tasks[key] = plan.tasks, self._ray.put(pickled_tasks(plan))
            return self._tasks[key][1]

    def _cancel(self, sent: Any, force: bool) -> None:
        with suppress(self._ray.exceptions.RayError, ValueError, TypeError):  # it has ended, or was lost
            self._ray.cancel(sent, force=force)


def _tell_loss(node: str, visible: bool) -> str:
    """What becomes of a run whose node is lost."""
    if not node:
        return "its node was lost before it began; it begins on another"
    if visible:
        way = "goes on elsewhere from its last checkpoint, for the storage is shared"
    else:
        way = "starts again elsewhere, for that node did not see this results folder"
    return f"its node {node}, or Ray's process there, was lost; it {way}"
