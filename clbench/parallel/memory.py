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
OWN_GROUP = Path("/proc/self/cgroup")


def memory_of_run(device: str) -> tuple[int, int | None]:
    """Bytes that this process has taken at most on ``device``, and bytes that are left there; None where unknown."""
    import torch

    from clbench.models import peak_memory

    place = torch.device(device)
    if place.type == "cuda":
        return int(torch.cuda.max_memory_reserved(place)), int(torch.cuda.mem_get_info(place)[0])
    return peak_memory(place), left_on_host()


def left_on_host(meminfo: Path = MEMINFO, cgroup: Path = CGROUP, own: Path = OWN_GROUP) -> int | None:
    """Bytes of the machine's memory that are free for programs, or those of this control group where it has fewer.

    A limit of any group around this one holds as well: a job of a scheduler, a slice, a container. What files have been
    read into memory is given up for programs, and counts as free.
    """
    left = []
    if meminfo.exists() and (found := re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())):
        left.append(int(found[1]) * 1024)
    path = re.search(r"^0::/(.*)$", own.read_text(), re.MULTILINE) if own.exists() else None
    inside = cgroup / (path[1] if path else "")
    for group in (inside, *inside.parents):
        if group.is_relative_to(cgroup) and (found_here := _left_in(group)) is not None:
            left.append(found_here)
    return min(left, default=None)


def _left_in(group: Path) -> int | None:
    """Bytes up to the limit of one control group; None where it has none."""
    most, current, stat = group / "memory.max", group / "memory.current", group / "memory.stat"
    if not (most.exists() and current.exists() and (limit := most.read_text().strip()).isdecimal()):
        return None
    cached = re.search(r"^inactive_file (\d+)$", stat.read_text(), re.MULTILINE) if stat.exists() else None
    return max(0, int(limit) - int(current.read_text()) + (int(cached[1]) if cached else 0))


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
