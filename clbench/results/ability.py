"""What a run lost of what its model could do before: read from the ``ability`` of a result.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clbench.errors import InputError

KEYS = {"name": str, "unit": str, "higher_is_better": bool, "values": list}
LONGEST_NAME = 100  # characters
LARGEST = 1e18


def ability_lost(result: Mapping[str, Any]) -> float | None:
    """How much worse the earlier ability is at the end than before training, in its unit; negative if it improved.

    None where it was not measured.
    """
    ability = result.get("ability")
    if not ability or None in (ends := (ability["values"][0], ability["values"][-1])):
        return None
    before, after = ends
    lost: float = before - after if ability["higher_is_better"] else after - before
    return lost


def check_ability(ability: object, rows: int, where: str) -> None:
    """Refuse what is no ability with a value, or None, for each of ``rows``; the InputError starts with ``where``."""
    if not isinstance(ability, dict) or not all(_fits(ability.get(key), kind) for key, kind in KEYS.items()):
        raise InputError(f"{where} is not an object of {', '.join(KEYS)}")
    values = ability["values"]
    if len(values) != rows or not all(value is None or _is_finite(value) for value in values):
        raise InputError(f"{where}.values is not a list of {rows} numbers, null where unmeasured")


def _fits(value: object, kind: type) -> bool:
    return isinstance(value, kind) and (not isinstance(value, str) or 0 < len(value) <= LONGEST_NAME)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
