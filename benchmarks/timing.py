"""Interleaved timing: what is compared takes turns (A B A B …), so that a machine that drifts slows both alike."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from clbench.models import choose_device, import_libraries

PAIRS = 5  # fewer are a trial
COMMAND_LINE = {"THP_MEM_ALLOC_ENABLE": "1"}  # what clbench.cli.main sets before torch is imported


def start_as_command_line(module: str) -> None:
    """Start this process anew as ``python -m module`` in the environment that clbench's command line runs in."""
    if any(os.environ.get(name) != value for name, value in COMMAND_LINE.items()):
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], {**os.environ, **COMMAND_LINE})


def prepare_process(device: str, threads: int) -> torch.device:
    """Import what takes seconds, compute with ``threads`` threads, and find the device called ``device``."""
    torch.set_num_threads(threads)
    import_libraries()
    return choose_device(device)


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some measurements."""

    median: float
    minimum: float
    maximum: float

    def text(self, digits: int = 2) -> str:
        """As a table shows it."""
        return f"{self.median:.{digits}f} ({self.minimum:.{digits}f}–{self.maximum:.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def quartiles(values: Sequence[float], digits: int) -> str:
    """Median, first and third quartile of many values, as a table shows them."""
    first, middle, third = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({first:.{digits}f}–{third:.{digits}f})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Each of ``ours`` by the one of ``theirs`` that was measured in the same turn."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def described(values: Sequence[float]) -> dict[str, Any]:
    """The spread and the values themselves, for JSON."""
    return {**asdict(spread(values)), "values": list(values)}


def interleave(
    calls: Mapping[str, Callable[[], object]], turns: int, device: torch.device, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each call in each turn, all calls once a turn; ``warm_up`` turns before are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + turns):
        for name, call in calls.items():
            taken = seconds_of(call, device)
            if turn >= warm_up:
                seconds[name].append(taken)
    return seconds


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, a GPU's queue emptied at both ends."""
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
