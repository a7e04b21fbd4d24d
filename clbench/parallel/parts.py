"""One of several equal parts of all runs, for a machine of its own, or a task of a cluster's array."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from clbench.errors import InputError

Item = TypeVar("Item")


def read_part(text: str) -> tuple[int, int]:
    """``3/16`` as (3, 16): the third of sixteen.

    Raises:
        InputError: anything else, or more than there are.
    """
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"--part {text!r} is not allowed; allowed: K/N with K from 1 to N, such as 3/16")
    return int(found[1]), int(found[2])


def take_part(items: Sequence[Item], number: int, count: int) -> list[Item]:
    """Every ``count``-th item beginning with the ``number``-th (1-based): what the parts take is each item once."""
    return list(items[number - 1 :: count])
