"""Seeded, stratified splits of labelled rows: pure functions, no data set and no tensor in sight.

A row is a pair ``(content, label)``: the text (or anything else that can be shuffled) and its label's name.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from clbench.errors import InputError
from clbench.text import same_text as same_text

Content = TypeVar("Content")

Counts = tuple[int, int, int]
"""How many rows go to train, dev and test."""


class _LettersAndDigits(dict[int, str]):
    """For ``str.translate``: every character that is neither becomes a blank; fills itself."""

    def __missing__(self, code: int) -> str:
        self[code] = chr(code) if chr(code).isalnum() else " "
        return self[code]


_LETTERS_AND_DIGITS = _LettersAndDigits()


def words_only(text: str) -> str:
    """The words of ``text`` in lower case, one space between: what two texts share that differ in punctuation only.

    A text without any word (an emoticon, say) stands for itself.

    >>> words_only("Don't  PANIC!")
    'don t panic'
    """
    return " ".join(text.casefold().translate(_LETTERS_AND_DIGITS).split()) or same_text(text)


def deduplicate(
    rows: Iterable[tuple[Content, str]],
    key: Callable[[Content], Hashable],
    exclude: Iterable[Content] = (),
) -> list[tuple[Content, str]]:
    """The first row of each distinct content, in order.

    Contents that carry two different labels are dropped altogether, since neither can be trusted, and so are those
    equal to one of ``exclude``.

    >>> deduplicate([("a", "x"), ("A", "x"), ("b", "x"), ("b", "y")], key=str.lower)
    [('a', 'x')]
    """
    first: dict[Hashable, tuple[Content, str]] = {}
    dropped = {key(content) for content in exclude}
    for content, label in rows:
        kept = first.setdefault(key(content), (content, label))
        if kept[1] != label:
            dropped.add(key(content))
    return [row for identity, row in first.items() if identity not in dropped]


def count_left_out(rows: Sequence[tuple[Content, str]], key: Callable[[Content], Hashable]) -> str:
    """What :func:`deduplicate` leaves out of ``rows``, in words; empty when nothing is.

    >>> count_left_out([("a", "x"), ("A", "x"), ("b", "x"), ("b", "y"), ("B", "y")], key=str.lower)
    '5 rows, 4 left out: 1 repeated, 3 with two labels'
    """
    labels: dict[Hashable, list[str]] = {}
    for content, label in rows:
        labels.setdefault(key(content), []).append(label)
    doubtful = sum(len(own) for own in labels.values() if len(set(own)) > 1)
    repeated = sum(len(own) - 1 for own in labels.values() if len(set(own)) == 1)
    if not doubtful + repeated:
        return ""
    parts = [f"{n} {why}" for n, why in ((repeated, "repeated"), (doubtful, "with two labels")) if n]
    return f"{len(rows)} rows, {doubtful + repeated} left out: {', '.join(parts)}"


def balanced_quotas(total: int, available: Mapping[str, int]) -> dict[str, int]:
    """Share ``total`` rows equally among the labels; what a label cannot give, the others make up for.

    Rows left over by the division go to the labels that have most, the first of them first.

    >>> balanced_quotas(11, {"a": 2, "b": 9, "c": 9})
    {'a': 2, 'b': 5, 'c': 4}

    Raises ValueError if fewer than ``total`` rows are available.
    """
    if total > sum(available.values()):
        raise ValueError(f"{total} rows asked for, {sum(available.values())} available")
    last_first = list(available)[::-1]
    scarcest_first = sorted(last_first, key=available.__getitem__)
    quotas = {}
    for position, label in enumerate(scarcest_first):
        quotas[label] = min(available[label], total // (len(available) - position))
        total -= quotas[label]
    return {label: quotas[label] for label in available}


def proportional_quotas(total: int, available: Mapping[str, int]) -> dict[str, int]:
    """Share ``total`` rows among the labels in proportion to what each has, by the largest remainder.

    >>> proportional_quotas(3, {"a": 6, "b": 2})
    {'a': 2, 'b': 1}
    """
    if total == 0:
        return dict.fromkeys(available, 0)
    everything = sum(available.values())
    quotas = {label: total * count // everything for label, count in available.items()}
    by_remainder = sorted(available, key=lambda label: -(total * available[label] % everything))
    for label in by_remainder[: total - sum(quotas.values())]:
        quotas[label] += 1
    return quotas


def balanced_counts(sizes: Counts, available: Mapping[str, int]) -> dict[str, Counts]:
    """For each label, how many of its rows go to train, dev and test, so that each split has exactly its size.

    The labels are as balanced as ``available`` allows, and each split has the same mixture of labels, up to rounding.

    >>> balanced_counts((4, 2, 2), {"a": 9, "b": 9})
    {'a': (2, 1, 1), 'b': (2, 1, 1)}
    """
    left = balanced_quotas(sum(sizes), available)
    chosen = []
    for size in (sizes[1], sizes[2]):
        quotas = proportional_quotas(size, left)
        left = {label: count - quotas[label] for label, count in left.items()}
        chosen.append(quotas)
    dev, test = chosen
    return {label: (left[label], dev[label], test[label]) for label in available}


def fractional_counts(available: Mapping[str, int], dev: float, test: float) -> dict[str, Counts]:
    """For each label, how many of its rows go to train, dev and test when every row is used; never none.

    A label needs at least three rows.

    >>> fractional_counts({"a": 20, "b": 3}, dev=0.1, test=0.25)
    {'a': (13, 2, 5), 'b': (1, 1, 1)}
    """
    counts = {}
    for label, rows in available.items():
        for_test = min(max(1, round(rows * test)), rows - 2)
        for_dev = min(max(1, round(rows * dev)), rows - 1 - for_test)
        counts[label] = (rows - for_dev - for_test, for_dev, for_test)
    return counts


def draw(
    rows: Sequence[tuple[Content, str]], counts: Mapping[str, Counts], generator: random.Random
) -> tuple[list[tuple[Content, str]], list[tuple[Content, str]], list[tuple[Content, str]]]:
    """Draw train, dev and test without replacement, ``counts`` rows of each label, each split in random order."""
    by_label: dict[str, list[tuple[Content, str]]] = {label: [] for label in counts}
    for row in rows:
        by_label[row[1]].append(row)
    splits: tuple[list[tuple[Content, str]], list[tuple[Content, str]], list[tuple[Content, str]]] = ([], [], [])
    for label, sizes in counts.items():
        generator.shuffle(by_label[label])
        start = 0
        for split, size in zip(splits, sizes, strict=True):
            split += by_label[label][start : start + size]
            start += size
    for split in splits:
        generator.shuffle(split)
    return splits


def check_sizes(sizes: Counts, fewest: Counts = (1, 1, 1), why: str = "") -> None:
    """Refuse splits that are too small with an InputError, which adds ``why`` to the fewest rows allowed."""
    for name, size, least in zip(("train", "dev", "test"), sizes, fewest, strict=True):
        if size < least:
            raise InputError(f"{name}={size} is not allowed; allowed: {least} or more{why}")


def count_labels(rows: Iterable[tuple[Content, str]], labels: Iterable[str]) -> dict[str, int]:
    """How many rows each of ``labels`` has, in the order of ``labels``."""
    counts = dict.fromkeys(labels, 0)
    for _, label in rows:
        counts[label] += 1
    return counts
