"""Runs in processes of their own: where they are, what they tell, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clbench.config import make_config
from clbench.engine import Interrupted, Reporter, Stopped
from clbench.errors import InputError, RunError
from clbench.parallel import Slot, Workers
from clbench.plugins import Plan
from clbench.strategy import Stack
from tests.helpers import ROOT
from tests.parallel import processes

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cores and signals as on Linux")
CORES = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (0,)
SLOT = Slot("cpu", CORES[:1], 1)


class Heard(Reporter):
    """Keeps what it is told, and calls ``on_line`` for each line."""

    def __init__(self, on_line: Callable[[], None] = lambda: None) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.on_line = on_line

    def say(self, line: str) -> None:
        self.told.append(("say", line))
        self.on_line()

    def warn(self, line: str) -> None:
        self.told.append(("warn", line))

    def note(self, line: str) -> None:
        self.told.append(("note", line))

    def start_task(self, label: str, steps: int, steps_done: int = 0) -> None:
        self.told.append((label, steps, steps_done))

    def step(self, step: int, texts: int, loss: float) -> None:
        self.told.append((step, texts, loss))

    def row(self, label: str, names: Sequence[str], row: Sequence[float | None]) -> None:
        self.told.append((label, *names, *row))

    def close(self) -> None:
        self.told.append(("close",))


def plan(seed: int = 0, scenario: str = "toy", tasks: Sequence[Any] = ()) -> Plan:
    return Plan(make_config({"scenario": scenario, "strategy": "naive", "seed": seed}), tasks, Stack([]))


@linux
def test_a_run_is_kept_to_the_cores_and_the_device_of_its_slot() -> None:
    slots = [Slot("cuda:1", CORES[:1], 1), Slot("cuda:0", CORES[-1:], 3)]
    with Workers(slots, work=processes.tells_its_place) as workers:
        shared, other = (object(),), ("another",)
        found: list[Any] = [workers.run(plan(tasks=tasks), Reporter()) for tasks in (("a",), other, other)]
    assert [place[:4] for place in found] == [
        (CORES[:1], "1", "cuda:1", True),
        (CORES[-1:], "3", "cuda:0", True),
        (CORES[:1], "1", "cuda:1", True),
    ]
    assert found[0][4] != found[1][4] == found[2][4]  # the tasks of two runs are written once
    with Workers(slots) as workers, pytest.raises(InputError, match="cannot be handed to another process"):
        workers.run(plan(tasks=(threading.Lock(), shared)), Reporter())


def test_what_a_run_tells_arrives_and_its_error_keeps_its_kind() -> None:
    heard = Heard()
    with Workers([SLOT], work=processes.tells_all) as workers, pytest.raises(InputError, match=r"^refused$"):
        workers.run(plan(), heard)
    assert heard.told == [
        ("say", "a line"), ("warn", "a warning"), ("note", "a note"), ("kitchen 1/3", 10, 2), (4, 16, 0.5),
        ("before training", "kitchen", None), ("close",),
    ]  # fmt: skip


@linux
def test_a_process_that_is_killed_fails_its_run_alone() -> None:
    with Workers([SLOT], work=processes.is_killed) as workers:
        for seed in (0, 1, 2):
            if seed != 1:
                found: Any = workers.run(plan(seed), Reporter())
                assert found == seed
                continue
            with pytest.raises(RunError, match="ended by SIGKILL, as the system does where memory runs out; run"):
                workers.run(plan(seed), Reporter())


@linux
def test_a_stop_lets_runs_save_and_begins_no_other(tmp_path: Path) -> None:
    begun = threading.Event()
    with ThreadPoolExecutor(2) as pool, Workers([SLOT], work=processes.goes_on_until_stopped) as workers:
        runs = [
            pool.submit(workers.run, plan(scenario=str(tmp_path / f"saved{number}")), Heard(begun.set))
            for number in range(2)
        ]
        assert begun.wait(20)
        workers.stop(signal.SIGINT)
        for run in runs:
            with pytest.raises(Interrupted):
                run.result(20)
    assert len(list(tmp_path.iterdir())) == 1


@linux
def test_what_still_runs_at_the_end_is_killed() -> None:
    """As when a second Ctrl-C comes: nothing waits."""
    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with Workers([SLOT], work=processes.goes_on_until_stopped) as workers:
            run = pool.submit(workers.run, plan(), Heard(begun.set))
            assert begun.wait(20)
        with pytest.raises(Interrupted):
            run.result(20)


def test_a_reporter_that_has_seen_enough_stops_the_run_after_a_row() -> None:
    class Enough(Heard):
        def row(self, label: str, names: Sequence[str], row: Sequence[float | None]) -> None:
            super().row(label, names, row)
            if label == "row 3":
                raise Stopped("enough")

    heard = Enough()
    with Workers([SLOT], work=processes.tells_rows) as workers, pytest.raises(Stopped, match=r"^enough$"):
        workers.run(plan(), heard)
    assert [told[0] for told in heard.told] == [f"row {number}" for number in range(4)]


def test_measured_runs_begin_with_one_and_go_on_with_as_many_as_fit() -> None:
    begun: dict[int, float] = {}
    lines: list[str] = []
    slots = [SLOT] * 4
    with ThreadPoolExecutor(4) as pool, Workers(slots, True, lines.append, processes.takes_memory) as workers:

        def run(seed: int) -> Any:
            return workers.run(plan(seed), Heard(lambda: begun.update({seed: time.monotonic()})))

        first = pool.submit(run, 0)
        time.sleep(0.05)  # so that it has the only slot
        others = [pool.submit(run, seed) for seed in (1, 2, 3)]
        assert [future.result(60) for future in (first, *others)] == [0, 1, 2, 3]
    assert min(begun[seed] for seed in (1, 2, 3)) > begun[0] + 0.6
    assert lines == ["memory is enough for 2 of 4 runs at once: one takes 10.0 GiB, 13.0 GiB are left"]


@linux
def test_a_run_whose_parent_is_killed_saves_its_state_and_ends(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from types import SimpleNamespace\n"
        "from clbench.config import RunConfig\n"
        "from clbench.engine import Reporter\n"
        "from clbench.parallel import Slot, Workers\n"
        "from tests.parallel import processes\n"
        "class Killer(Reporter):\n"
        "    def say(self, line):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        f"    config = RunConfig(scenario={str(tmp_path / 'saved')!r}, strategy='naive')\n"
        f"    workers = Workers([{SLOT!r}], work=processes.goes_on_until_stopped).__enter__()\n"
        "    workers.run(SimpleNamespace(config=config, tasks=(), notes=(), sources=()), Killer())\n"
    )
    (tmp_path / "parent.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, str(tmp_path / "parent.py")], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    for _ in range(200):
        if (tmp_path / "saved").exists():
            return
        time.sleep(0.05)
    pytest.fail("the run went on without its parent")
