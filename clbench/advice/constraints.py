"""What a recommendation must keep to, and how durations, sizes and yes or no are read from the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite

from clbench.errors import InputError
from clbench.text import size_text

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
# The constraints that cost something, as a person reads them.
KEEP_DATA, TASK_KNOWN, MAX_STORED, MAX_OVERHEAD = "keep_data", "task_known", "max_stored", "max_overhead"


@dataclass(frozen=True)
class Constraints:
    """What the chosen strategy must keep to.

    Attributes:
        keep_data: whether examples of past tasks may be kept.
        task_known: whether the task of an example is known when the model is used; None leaves it to the setting.
        max_stored: bytes that a strategy may keep beside the model, None for any number.
        max_overhead: wall time of the whole sequence divided by that of naive fine-tuning, None for any.
    """

    keep_data: bool = True
    task_known: bool | None = None
    max_stored: int | None = None
    max_overhead: float | None = None

    def violated(self, stored_bytes: float | None, overhead: float | None) -> dict[str, str]:
        """The measured constraints that these costs break, each with the reason."""
        broken = {}
        if self.max_stored is not None and stored_bytes is not None and stored_bytes > self.max_stored:
            stored, most = size_text(stored_bytes), size_text(self.max_stored)
            if stored == most:
                stored, most = f"{stored_bytes:,.0f} bytes", f"{self.max_stored:,}"
            broken[MAX_STORED] = f"stores {stored}; allowed: {most}"
        if self.max_overhead is not None and overhead is not None and overhead > self.max_overhead:
            broken[MAX_OVERHEAD] = f"takes {overhead:.2f} times the time of naive; allowed: {self.max_overhead:g}"
        return broken


def read_duration(text: str) -> float:
    """Seconds of ``90s``, ``30m``, ``1h30m`` or ``2d``.

    Raises:
        InputError: anything else, or no time at all.
    """
    parts = re.findall(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhd])", text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not seconds:
        raise InputError(f"--budget {text!r} is not allowed; allowed: a duration such as 90s, 30m, 2h or 1h30m")
    return seconds


def read_size(text: str) -> int:
    """Bytes of ``500KB``, ``10MB``, ``1.5GiB`` or ``2000``.

    Raises:
        InputError: anything else.
    """
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMG]I?B|B)?", text.strip(), re.IGNORECASE)
    if not found:
        raise InputError(f"--max-stored {text!r} is not allowed; allowed: a size such as 500KB, 10MB or 1GiB")
    return int(float(found[1]) * SIZES[(found[2] or "B").upper()])


def read_overhead(value: float | None) -> float | None:
    """``--max-overhead``, above 0.

    Raises:
        InputError: not a number above 0.
    """
    if value is not None and not (isfinite(value) and value > 0):
        raise InputError(f"--max-overhead {value} is not allowed; allowed: a number above 0; naive is 1")
    return value


def read_yes_no(option: str, text: str | None) -> bool | None:
    """True for yes, False for no, None where nothing was given.

    Raises:
        InputError: anything else.
    """
    if text is None:
        return None
    if text not in ("yes", "no"):
        raise InputError(f"{option} {text!r} is not allowed; allowed: yes, no")
    return text == "yes"
