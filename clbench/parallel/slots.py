"""Where runs that go on at once have their places: disjoint cores, and a GPU where there are some."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from clbench.errors import InputError, nearest

MOST_JOBS = 4096  # each is a process of its own


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time.

    Attributes:
        device: as torch calls it, such as "cpu" or "cuda:1".
        cores: numbers of the processor's cores that the run is kept to.
        threads: of torch; OMP_NUM_THREADS where that is less than the cores.
    """

    device: str
    cores: tuple[int, ...]
    threads: int


def read_jobs(text: str | None) -> int | None:
    """How many runs go on at once: a number, or None for ``auto``.

    Raises:
        InputError: neither.
    """
    if text == "auto":
        return None
    if text is None:
        return 1
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= MOST_JOBS):
        hint = " did you mean 'auto'?" if nearest(text, ["auto"]) else ""
        raise InputError(f"--jobs {text!r} is not allowed;{hint} allowed: auto, or a number from 1 to {MOST_JOBS}")
    return int(text)


def usable_cores() -> tuple[int, ...]:
    """The cores that this process may use; where the system does not say, all of them."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def devices_of(name: str) -> tuple[str, ...]:
    """The devices that runs on ``name`` may be spread over: every GPU for "cuda", else the one that was named."""
    if name != "cuda":
        return (name,)
    import torch  # who runs on a CPU need not wait for it

    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


def make_slots(
    jobs: int | None, runs: int, devices: Sequence[str], cores: Sequence[int], jobs_per_gpu: int | None = None
) -> list[Slot]:
    """Share cores and devices out, the first job of every GPU before the second of any.

    Args:
        jobs: how many runs go on at once; None for one a core, or ``jobs_per_gpu`` a GPU, and no more than ``runs``.
        runs: how many there are.
        devices: the CPU alone, or GPUs.
        cores: those that may be used; each job gets as many, and where there are fewer cores than jobs, they share.
        jobs_per_gpu: 1 where it is None.

    Raises:
        InputError: more jobs than the GPUs are to take, or ``jobs_per_gpu`` without a GPU.
    """
    on_gpus = devices[0] != "cpu"
    if jobs_per_gpu is not None and jobs_per_gpu < 1:
        raise InputError(f"--jobs-per-gpu {jobs_per_gpu} is not allowed; allowed: 1 or more")
    if jobs_per_gpu is not None and not on_gpus:
        raise InputError(f"--jobs-per-gpu {jobs_per_gpu}: these runs go on the CPU; leave it away")
    most = len(devices) * (jobs_per_gpu or 1) if on_gpus else len(cores)
    if on_gpus and jobs is not None and jobs > most:
        places = f"{len(devices)} GPU{'s' * (len(devices) > 1)} with {jobs_per_gpu or 1} each (--jobs-per-gpu)"
        raise InputError(f"--jobs {jobs} is not allowed; allowed: auto, or 1 to {most}, for {places}")
    count = min(most, runs) if jobs is None else jobs
    shares = [_share(cores, number, count) for number in range(count)]
    return [Slot(devices[number % len(devices)], share, _threads(share)) for number, share in enumerate(shares)]


def _share(cores: Sequence[int], number: int, count: int) -> tuple[int, ...]:
    """The cores of job ``number``: as many for each, so that each run has the same threads; what is over is idle."""
    each = len(cores) // count
    return tuple(cores[number * each : (number + 1) * each]) if each else (cores[number % len(cores)],)


def _threads(cores: Sequence[int]) -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(len(cores), int(asked)) if asked.isdecimal() and int(asked) else len(cores)


def describe_slots(slots: Sequence[Slot]) -> str:
    """How many runs go on at once, and where, in a line."""
    first = slots[0]
    devices = sorted({slot.device for slot in slots} - {"cpu"})
    place = f" on {', '.join(devices)}" if devices else ""
    shared = len({core for slot in slots for core in slot.cores}) < sum(len(slot.cores) for slot in slots)
    cores = "sharing cores" if shared else f"{len(first.cores)} core{'s' * (len(first.cores) > 1)} each"
    return f"{len(slots)} at once{place}: {cores}, {first.threads} thread{'s' * (first.threads > 1)} a run"
