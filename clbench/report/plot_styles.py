"""How a strategy looks: one colour in every figure, worked out from its name alone.

The twelve that are plotted most have a colour and a solid line each. Any other expression has a colour and a broken
line by its checksum, so that it, too, looks the same wherever it is drawn; the colours of naive and joint, which others
are measured against, are theirs alone. In a figure where two look alike, the later one keeps its colour and takes
another line and marker.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

Dashes = str | tuple[int, tuple[int, ...]]

# Okabe & Ito (2008), "Color Universal Design", without its yellow, which is too light for a line; then five that are as
# far from these and from each other as these are, also for eyes without red or green cones (Machado et al. 2009).
COLOURS = {
    "naive": "#000000",
    "ewc": "#0072B2",
    "replay": "#D55E00",
    "lora_per_task": "#009E73",
    "si": "#CC79A7",
    "slda": "#E69F00",
    "er_ace": "#56B4E9",
    "joint": "#882255",
    "cumulative": "#332288",
    "gdumb": "#7B4B2A",
    "distillation": "#5A87FF",
    "replay+ewc": "#661100",
}
SHARED = [colour for name, colour in COLOURS.items() if name not in ("naive", "joint")]
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*")
SOLID: Dashes = "-"
BROKEN: tuple[Dashes, ...] = ("--", "-.", (0, (1, 1)))


@dataclass(frozen=True)
class Style:
    """How a series is drawn."""

    colour: str
    marker: str
    dashes: Dashes


def style_of(strategy: str) -> Style:
    """The style of a strategy expression."""
    if strategy in COLOURS:
        return Style(COLOURS[strategy], MARKERS[list(COLOURS).index(strategy)], SOLID)
    number = zlib.crc32(strategy.encode("utf-8", "backslashreplace"))
    number, colour = divmod(number, len(SHARED))
    number, dashes = divmod(number, len(BROKEN))
    return Style(SHARED[colour], MARKERS[number % len(MARKERS)], BROKEN[dashes])


def series_styles(strategies: Sequence[str]) -> list[Style]:
    """The styles of the series of one figure, by the strategy of each: all different as long as there are any left."""
    taken: set[Style] = set()
    styles = []
    for strategy in strategies:
        own = style_of(strategy)
        others = (Style(own.colour, marker, dashes) for marker, dashes in product(MARKERS, (*BROKEN, SOLID)))
        style = own if own not in taken else next((other for other in others if other not in taken), own)
        taken.add(style)
        styles.append(style)
    return styles
