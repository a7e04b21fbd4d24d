"""Which cores and devices runs at once get, which part of all runs a machine takes, and for how many there is room."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from clbench.errors import InputError
from clbench.parallel import Slot, devices_of, make_slots, memory, read_jobs, read_part, take_part, usable_cores
from clbench.parallel.memory import with_room

GPUS = ("cuda:0", "cuda:1")


@pytest.fixture(autouse=True)
def _any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_cores_are_shared_out_equally_and_no_two_jobs_have_the_same() -> None:
    slots = make_slots(3, 9, ("cpu",), range(2, 10))
    assert slots == [Slot("cpu", (2, 3), 2), Slot("cpu", (4, 5), 2), Slot("cpu", (6, 7), 2)]  # 8 and 9 are idle


def test_auto_is_a_job_a_core_and_no_more_than_runs() -> None:
    assert [slot.cores for slot in make_slots(None, 9, ("cpu",), (0, 1))] == [(0,), (1,)]
    assert [slot.cores for slot in make_slots(None, 2, ("cpu",), range(6))] == [(0, 1, 2), (3, 4, 5)]
    # Of a number that is given the threads do not depend on how many runs there are.
    assert [slot.threads for slot in make_slots(3, 1, ("cpu",), range(6))] == [2, 2, 2]


def test_more_jobs_than_cores_share_them() -> None:
    assert [slot.cores for slot in make_slots(3, 3, ("cpu",), (4, 5))] == [(4,), (5,), (4,)]


def test_each_gpu_has_a_job_before_any_has_two() -> None:
    slots = make_slots(None, 9, GPUS, range(8), 2)
    assert [slot.device for slot in slots] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert Counter(core for slot in slots for core in slot.cores) == Counter(range(8))
    assert [slot.device for slot in make_slots(3, 9, GPUS, range(8), 2)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [slot.device for slot in make_slots(None, 9, GPUS, range(8))] == ["cuda:0", "cuda:1"]
    assert [slot.device for slot in make_slots(None, 1, GPUS, range(8))] == ["cuda:0"]


def test_omp_num_threads_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert [slot.threads for slot in make_slots(2, 2, ("cpu",), range(8))] == [1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert [slot.threads for slot in make_slots(2, 2, ("cpu",), range(8))] == [4, 4]


def test_what_cannot_be_is_one_line() -> None:
    with pytest.raises(InputError, match=re.escape("--jobs 5 is not allowed; allowed: auto, or 1 to 4, for 2 GPUs")):
        make_slots(5, 9, GPUS, range(8), 2)
    with pytest.raises(InputError, match="--jobs-per-gpu 2: these runs go on the CPU; leave it away"):
        make_slots(None, 9, ("cpu",), range(8), 2)
    with pytest.raises(InputError, match="--jobs-per-gpu 0 is not allowed"):
        make_slots(None, 9, GPUS, range(8), 0)
    for text in ("0", "-1", "two", "1.5", "", "²", "4097", "9" * 21):  # each job has a place made for it
        with pytest.raises(InputError, match="allowed: auto, or a number from 1 to 4096"):
            read_jobs(text)
    with pytest.raises(InputError, match="--jobs 'Auto' is not allowed; did you mean 'auto'"):
        read_jobs("Auto")
    assert (read_jobs("auto"), read_jobs("3"), read_jobs(None)) == (None, 3, 1)


def test_a_named_device_is_the_only_one() -> None:
    assert devices_of("cpu") == ("cpu",)
    assert devices_of("cuda:1") == ("cuda:1",)
    assert usable_cores()


def test_the_parts_together_take_every_run_once() -> None:
    runs = list(range(40))
    parts = [take_part(runs, number, 16) for number in range(1, 17)]
    assert parts[2] == [2, 18, 34]
    assert sorted(run for part in parts for run in part) == runs
    assert take_part(runs[:2], 3, 16) == []
    assert read_part("3/16") == (3, 16)


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "3/", "/4", "3/4/5", "a/b", "-1/4", "1/0", "1.5/2", " 1/2"])
def test_a_part_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"--part {text!r} is not allowed; allowed: K/N with K from 1 to N")):
        read_part(text)


def test_room_is_counted_with_a_margin_and_on_each_device() -> None:
    slots = make_slots(4, 4, ("cpu",), range(4))
    # One takes 8, with the margin 10: 29 bytes beside it are enough for two others.
    assert with_room(slots, 8, 29) == slots[:3]
    assert with_room(slots, 8, 30) == slots
    assert with_room(slots, 8, 0) == slots[:1]
    assert with_room(slots, 8, None) == slots
    shared = make_slots(None, 6, GPUS, range(6), 3)
    assert [slot.device for slot in with_room(shared, 8, 10)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]


def test_what_is_left_is_the_machines_or_the_control_groups(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:     500 kB\n")
    (tmp_path / "own").write_text("1:name=other:/elsewhere\n0::/jobs/7/step\n")

    def left_on_host(meminfo: Path, cgroup: Path) -> int | None:
        return memory.left_on_host(meminfo, cgroup, tmp_path / "own")

    assert left_on_host(tmp_path / "meminfo", tmp_path) == 500 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert left_on_host(tmp_path / "meminfo", tmp_path) == 500 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert left_on_host(tmp_path / "meminfo", tmp_path) == 4000
    (tmp_path / "memory.stat").write_text("anon 100\ninactive_file 300\n")
    assert left_on_host(tmp_path / "meminfo", tmp_path) == 4300
    job = tmp_path / "jobs" / "7"  # the limit of a group around the process's own
    (job / "step").mkdir(parents=True)
    (job / "memory.max").write_text("2000\n")
    (job / "memory.current").write_text("1200\n")
    assert left_on_host(tmp_path / "meminfo", tmp_path) == 800
    assert left_on_host(tmp_path / "none", tmp_path / "none") is None
