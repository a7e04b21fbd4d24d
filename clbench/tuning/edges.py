"""Chosen values at the edge of what was tried: better ones may lie outside."""

from __future__ import annotations

from collections.abc import Iterator
from math import log

from clbench.results import Tuned

# Of the width of a range's logarithm.
NEAR = 0.03
FURTHER = 10.0


def at_the_edge(name: str, entry: Tuned) -> Iterator[str]:
    """A line for each value of the strategy ``name`` that was chosen next to an end of its range, with a wider range.

    Ends that are no choice of ours, such as 0 and 1 for a share, and whole numbers, of which few are tried, are left
    out.
    """
    for key, value in entry.values.items():
        space = entry.spaces[key]
        if not space.get("log") or isinstance(value, int) or space["low"] == space["high"]:
            continue
        low, high = space["low"], space["high"]
        place = log(value / low) / log(high / low)
        if NEAR < place < 1 - NEAR:
            continue
        wider = (low / FURTHER, high) if place <= NEAR else (low, high * FURTHER)
        yield (
            f"{name}: {key} = {value:g} lies at the edge of what was tried, {low:g} to {high:g}; a better one may lie "
            f"outside: --search {key}={wider[0]:g}:{wider[1]:g}:log"
        )
