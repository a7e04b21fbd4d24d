"""What a run computed on: costs of other hardware are no measure of its strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clbench.results.folder import RunFolder

# What the costs depend on; the last is only there where an environment variable says it.
HARDWARE = ("device", "processor", "threads", "kernels")


def costs_depend_on(told: Mapping[str, Any]) -> dict[str, Any]:
    """Of what a run, or a part of it, is known to have computed on, what its costs and last digits depend on."""
    return {key: told[key] for key in HARDWARE if key in told}


def hardware_of(folder: RunFolder, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the finished run in ``folder`` computed on: an entry, or several where it went on elsewhere.

    Runs from before 0.2 say it in environment.json alone; empty where nothing tells.
    """
    if "hardware" in result:
        return list(result["hardware"])
    told = folder.read_environment().get("hardware")
    known = costs_depend_on(told) if isinstance(told, dict) else {}
    return [known] if known else []
