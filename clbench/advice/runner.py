"""Runs what the race asks for within the budget; every run is an ordinary run folder, so a killed race goes on."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import fsum
from pathlib import Path
from typing import Any

from clbench.advice.candidates import FLOOR
from clbench.engine import Reporter, Stopped, run_folder, run_one
from clbench.errors import InputError, ProcessDied, RunError
from clbench.files import read_file, write_atomic
from clbench.plugins import Made, Plan, make_plan
from clbench.results import Run

RUNS, SPENT = "runs", "spent.json"
# A backward pass costs about twice a forward pass.
TRAINING_PASSES = 3


@dataclass(frozen=True)
class Size:
    """How much of the data a stage takes, and what it answers.

    Attributes:
        stage: its name in advice.json.
        limit: training examples a task, None for all.
        min_steps: steps a task at least, None for the default.
        split: "dev" in the race, where tasks still to come are left out, "test" at the end.
    """

    stage: str
    limit: int | None
    min_steps: int | None
    split: str

    def options(self) -> dict[str, Any]:
        """As a run's settings."""
        evaluate = "seen" if self.split == "dev" else None
        given = {
            "limit": self.limit, "min_steps": self.min_steps, "eval_split": self.split, "evaluate": evaluate
        }  # fmt: skip
        return {key: value for key, value in given.items() if value is not None}


@dataclass
class Runner:
    """Runs and the seconds they took.

    Attributes:
        options: of every run.
        folder: of the advice; runs lie in its ``runs``.
        budget: seconds for everything.
        made: tasks by what they were made from.
        seconds: of every run by its folder, those of earlier processes too.
        asked: the runs that were asked for, in order; only these count as spent, so that what is decided by time is
            decided alike when a killed race is started again.
        failed: strategies whose runs failed, with the reason.
        make: makes the runs, for several threads at once where it can; one in this process where it is None.
    """

    options: Mapping[str, Any]
    folder: Path
    budget: float
    reporter: Reporter
    made: Made = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    asked: dict[str, None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    make: Callable[[Plan, Reporter], Run] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        path = self.folder / SPENT
        if os.path.exists(path):  # not path.exists(), which raises for a name too long
            try:
                self.seconds = {str(key): float(value) for key, value in json.loads(read_file(path)).items()}
            except (OSError, ValueError, AttributeError, TypeError) as error:
                raise InputError(f"{path} is damaged: {error}; take it away to count the time anew") from error

    @property
    def spent(self) -> float:
        """Seconds of all runs so far."""
        return fsum(self.seconds[key] for key in self.asked)

    def run(self, strategy: str, seed: int, size: Size, reporter: Reporter | None = None, **changed: Any) -> Run | None:
        """One run, read where it was finished before; None where it failed or its own ``reporter`` stopped it.

        ``changed`` goes before our options; that such a run failed says nothing of the strategy's others.
        """
        if strategy in self.failed:
            return None
        started = time.monotonic()
        place = str(self.folder / RUNS)
        options = {**self.options, "strategy": strategy, "seed": seed, **size.options(), "output_dir": place, **changed}
        plan = self._plan(options)
        key = str(run_folder(plan.config).path.relative_to(place))
        if reporter is None:
            self.reporter.say(f"{size.stage}: {strategy}, seed {seed}")
        plans, make = [plan], self.make or run_one
        del plan
        # The race's few steps teach little, which is no news; what the final's runs have to say is.
        told = reporter or (self.reporter if size.split == "test" else Reporter())
        try:
            try:
                run = make(plans.pop(), told)
            except ProcessDied as died:  # killed, perhaps for want of memory that others had taken
                self.reporter.warn(f"{strategy}: {str(died).partition(';')[0]}; it goes on once more")
                run = make(self._plan(options), told)
        except Stopped:
            run = None
        except (InputError, RunError) as error:
            if isinstance(error, InputError) and strategy == FLOOR:  # what is wrong there is no strategy's fault
                raise
            if not changed:
                self.failed[strategy] = f"failed: {error}"
            self.reporter.warn(f"{strategy}: {error}")
            run = None
        with self._lock:
            if key not in self.seconds:
                self.seconds[key] = time.monotonic() - started
                write_atomic(self.folder / SPENT, json.dumps(self.seconds, indent=1) + "\n")
            self.asked[key] = None
        return run

    def _plan(self, options: dict[str, Any]) -> Plan:
        with self._lock:
            return make_plan(options, made=self.made)

    def work(self, size: Size) -> float:
        """Examples that naive passes through the model at ``size``, a training step counted three times."""
        plan = make_plan({**self.options, "strategy": "naive", **size.options()}, made=self.made)
        config, tasks = plan.config, plan.tasks
        cap = config.limit or max(len(task.train) for task in tasks)
        trained = sum(config.steps(min(cap, len(task.train))) * config.batch_size for task in tasks)
        answered = 0
        for position, task in enumerate(tasks):
            examples = len(task.dev if size.split == "dev" else task.test)
            times = len(tasks) - position if config.evaluate == "seen" else len(tasks) + 1
            answered += times * min(examples, config.limit or examples)
        return float(TRAINING_PASSES * trained + answered)
