"""How much memory a run takes and how much is left, so that no more runs go on at once than there is room for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from clbench.parallel.slots import Slot

# A run's peak after its first task is not yet its last: memories and Fishers grow.
MARGIN = 1.25
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def memory_of_run(device: str) -> tuple[int, int | None]:
    """Bytes that this process has taken at most on ``device``, and bytes that are left there; None where unknown."""
    import torch

    from clbench.models import peak_memory

    place = torch.device(device)
    if place.type == "cuda":
        return int(torch.cuda.max_memory_reserved(place)), int(torch.cuda.mem_get_info(place)[0])
    return peak_memory(place), left_on_host()


def left_on_host(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """Bytes of the machine's memory that are free for programs, or those of this control group where it has fewer."""
    left = []
    if meminfo.exists() and (found := re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())):
        left.append(int(found[1]) * 1024)
    most, current = cgroup / "memory.max", cgroup / "memory.current"
    if most.exists() and current.exists() and (limit := most.read_text().strip()).isdecimal():
        left.append(max(0, int(limit) - int(current.read_text())))
    return min(left, default=None)


def with_room(slots: Sequence[Slot], peak: int, left: int | None) -> list[Slot]:
    """The slots for which there is memory, the first of each device at least.

    Args:
        slots: all.
        peak: bytes of the one run that goes on, on one of the devices, which are taken to be alike.
        left: bytes beside it on its device; None where they are unknown, and all slots are taken.
    """
    if left is None:
        return list(slots)
    room = 1 + int(left // max(1, MARGIN * peak))
    taken: dict[str, int] = {}
    found = []
    for slot in slots:
        taken[slot.device] = taken.get(slot.device, 0) + 1
        if taken[slot.device] <= room:
            found.append(slot)
    return found
