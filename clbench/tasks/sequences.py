"""Splits of tagged tokens and of prompts with answers; BIO tags, rare tags and draws without a row twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from clbench.errors import InputError
from clbench.tasks.splits import Counts, same_text

if TYPE_CHECKING:
    import datasets

TokenRow = tuple[tuple[str, ...], tuple[str, ...]]
"""A sentence's tokens and their tags, one a token."""

Row = TypeVar("Row", bound=tuple[object, object])

OUTSIDE = "O"


def token_dataset(rows: Sequence[TokenRow], labels: Sequence[str]) -> datasets.Dataset:
    """A split with the columns ``tokens`` (strings) and ``tags`` (indices into ``labels``)."""
    import datasets

    index = {label: position for position, label in enumerate(labels)}
    columns = {
        "tokens": [list(tokens) for tokens, _ in rows],
        "tags": [[index[tag] for tag in tags] for _, tags in rows],
    }
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "tags": datasets.List(datasets.Value("int64"))}
    )
    return datasets.Dataset.from_dict(columns, features=features)


def answer_dataset(rows: Sequence[tuple[str, str]]) -> datasets.Dataset:
    """A split with the columns ``prompt`` and ``answer`` from pairs of both."""
    import datasets

    columns = {"prompt": [prompt for prompt, _ in rows], "answer": [answer for _, answer in rows]}
    features = datasets.Features({"prompt": datasets.Value("string"), "answer": datasets.Value("string")})
    return datasets.Dataset.from_dict(columns, features=features)


def bio_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Plain tags as BIO: ``B-`` on the first token of a run of one tag, ``I-`` on the others; ``O`` stays.

    >>> bio_tags(["Street", "Street", "O", "City", "Street"])
    ('B-Street', 'I-Street', 'O', 'B-City', 'B-Street')
    """
    return tuple(
        tag if tag == OUTSIDE else f"{'I' if tag == before else 'B'}-{tag}" for before, tag in pairwise(("", *tags))
    )


def tag_labels(rows: Iterable[TokenRow]) -> tuple[str, ...]:
    """The tags of ``rows`` in a task's order: plain ones sorted; of BIO tags ``O``, then each name's ``B-`` and ``I-``.

    >>> tag_labels([(("Jane", "Doe", "Smith"), ("B-Name", "B-Surname", "I-Surname"))])
    ('O', 'B-Name', 'B-Surname', 'I-Surname')
    """
    found = {tag for _, tags in rows for tag in tags}
    if any(tag.startswith("B-") for tag in found):
        found.add(OUTSIDE)
    return tuple(sorted(found, key=lambda tag: (tag != OUTSIDE, tag.partition("-")[2] or tag, tag)))


def fold_rare_tags(rows: Sequence[TokenRow], fewest: int) -> list[TokenRow]:
    """Rows in which every tag that fewer than ``fewest`` tokens have has become ``O``."""
    counts = Counter(tag for _, tags in rows for tag in tags)
    return [(tokens, tuple(tag if counts[tag] >= fewest else OUTSIDE for tag in tags)) for tokens, tags in rows]


def same_tokens(tokens: Sequence[str]) -> tuple[str, ...]:
    """The tokens in lower case: equal for sentences that a reader would call equal."""
    return tuple(map(same_text, tokens))


def draw_distinct(
    rows: Iterable[Row], sizes: Counts, generator: random.Random, key: Callable[[Row], Hashable], what: str
) -> tuple[list[Row], list[Row], list[Row]]:
    """Draw train, dev and test without replacement from the rows, of which the first of each ``key`` is taken.

    Where there are too few, train gets what dev and test leave.

    Args:
        rows: pairs (content, what it is to be answered with).
        sizes: rows in train, dev and test.
        generator: decides the draw.
        key: what makes two rows the same, such as the content without case.
        what: the rows' name in the error, such as ``"addresses"``.

    Raises:
        InputError: dev and test leave none.
    """
    first: dict[Hashable, Row] = {}
    for row in rows:
        first.setdefault(key(row), row)
    _, dev, test = sizes
    if dev + test >= len(first):
        raise InputError(f"dev={dev} and test={test} leave none of the {len(first)} {what} to train on")
    drawn = generator.sample(list(first.values()), min(sum(sizes), len(first)))
    return drawn[dev + test :], drawn[:dev], drawn[dev : dev + test]


def fewer_than_asked(train: int, asked: int) -> tuple[str, ...]:
    """A task's note where fewer than ``asked`` rows are left to train on, else nothing."""
    return (f"{train} to train on, not {asked}: there are no more",) if train < asked else ()
