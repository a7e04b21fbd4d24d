"""Labels with too few texts to stand in every split: refused, or treated as the user says."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Sequence
from typing import Literal, get_args

from clbench.errors import InputError, unknown
from clbench.tasks.apart import some_names
from clbench.tasks.splits import Content, same_text

Rare = Literal["refuse", "allow", "merge", "drop"]
# The label that rare ones are merged into.
MERGED = "other"


def check_rare(rare: str) -> None:
    """Refuse a word that says nothing.

    Raises:
        InputError: names the words.
    """
    if rare not in get_args(Rare):
        raise unknown("value of rare", rare, get_args(Rare))


def treat_rare(
    rows: list[tuple[Content, str]], names: tuple[str, ...], rare_labels: Container[str], rare: Rare
) -> tuple[list[tuple[Content, str]], tuple[str, ...], tuple[str, ...]]:
    """Rows and label names after ``rare`` has been done to the rare labels, and notes on it.

    Args:
        rows: pairs (content, label name).
        names: the labels in order.
        rare_labels: those of them that are rare.
        rare: "allow" changes nothing, "drop" leaves their rows out, "merge" makes them one label, ``MERGED``.
    """
    few = [name for name in names if name in rare_labels]
    if not few or rare not in ("merge", "drop"):
        return rows, names, (f"rare labels allowed: {some_names(few)}",) if few else ()
    common = tuple(name for name in names if name not in rare_labels)
    count = sum(label in few for _, label in rows)
    if rare == "drop":
        kept = [row for row in rows if row[1] not in few]
        return kept, common, (f"{count} texts left out with their rare labels: {some_names(few)}",)
    merged = [(content, MERGED if label in few else label) for content, label in rows]
    labels = common if MERGED in common else (*common, MERGED)
    return merged, labels, (f"{count} texts of rare labels merged into {MERGED!r}: {some_names(few)}",)


def check_spelling(what: str, names: Sequence[str], lines: Sequence[int] = ()) -> None:
    """Refuse names that a reader would call the same.

    Args:
        what: what they are the names of, for the error line.
        names: different names.
        lines: where each of them first stands.

    Raises:
        InputError: two names that differ in case, blanks or the form of their characters only.
    """
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        other = first.setdefault(same_text(unicodedata.normalize("NFKC", name)), number)
        if other != number:
            told = [f"{names[i]!r} (line {lines[i]})" if lines else repr(names[i]) for i in (other, number)]
            raise InputError(f"{what} {' and '.join(told)} differ in case or blanks only; write them alike")
