"""On what runs were measured, in a line: seconds and memory compare with their like only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clbench.results import Run, RunFolder, hardware_of

# Costs that say as much of the hardware as of the strategy.
MEASURED = ("train_seconds", "fisher_seconds", "eval_seconds", "wall_seconds", "peak_memory_bytes")


def hardware_text(run: Run) -> str:
    """The GPU's name, or the processor with the threads that the run had, and the variables that chose its kernels.

    Joined where it went on elsewhere.

    Of an older run that tells nothing, the kind of device that was asked for.
    """
    told = [_text(each) for each in hardware_of(RunFolder(run.folder), run.result)]
    return " then ".join(told) or str(run.config.get("device")).partition(":")[0]


def _text(hardware: Mapping[str, Any]) -> str:
    place = device = str(hardware.get("device"))
    if device == "cpu":
        place = f"{hardware.get('processor') or device}, threads: {hardware.get('threads')}"
    return f"{place}, {hardware['kernels']}" if "kernels" in hardware else place
