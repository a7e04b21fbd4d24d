"""The rows of a preset's data: loaded, chosen, and dealt out to train, dev and test so that none stands in two."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clbench.errors import InputError, unknown
from clbench.kinds import find_columns
from clbench.presets.preset import Preset, Source
from clbench.presets.reading import SPLITS
from clbench.tasks import file_splits, hub_splits

if TYPE_CHECKING:
    import datasets

Row = tuple[Any, Any]
"""What an example holds, and what it is to be answered with."""


def load_splits(preset: Preset, source: Source, root: str) -> dict[str, datasets.Dataset]:
    """The data of train, and of dev and test where there are such.

    Args:
        preset: whose data they are.
        source: which data.
        root: a folder with the data as the hub has them, or with the files; empty for the hub.

    Raises:
        InputError: they cannot be loaded, or lack a split or a column.
    """
    if source.files:
        if not root:
            files = ", ".join(source.files.values())
            raise InputError(f"preset {preset.name!r} needs --scenario-arg root=FOLDER, a folder with {files}")
        found = dict(file_splits(source.files, root))
    else:
        try:
            given = hub_splits(f"hub:{source.hub}", root, source.revision or None)
        except InputError as error:
            if not root:
                error.add_note(f"--scenario-arg root=FOLDER reads a folder that holds {source.hub} as the hub does")
            raise
        for own in source.splits.values():
            if own not in given:
                raise unknown(f"split of {source.hub}:", own, given)
        found = {split: given[own] for split, own in source.splits.items()}
    for split, data in found.items():
        find_columns(data, [c for columns in source.columns.values() for c in columns], f"{preset.name}: {split}")
    return found


def choose_rows(
    answers: Sequence[Any], strata: Sequence[str], per_label: int | None, most: int | None, generator: random.Random
) -> list[int]:
    """The numbers of the rows that are used, rising.

    Args:
        answers: of each row; None for one that is not used.
        strata: each row's label; one for all where there are none.
        per_label: the most rows of a stratum.
        most: the most rows of all, as many of each stratum as can be.
        generator: decides which.
    """
    usable = [number for number, answer in enumerate(answers) if answer is not None]
    if per_label is None and (most is None or most >= len(usable)):
        return usable
    turn: dict[str, int] = {}
    turns: list[tuple[int, int, int]] = []
    for number in generator.sample(usable, len(usable)):
        turn[strata[number]] = turn.get(strata[number], 0) + 1
        turns.append((turn[strata[number]], len(turns), number))
    kept = sorted(turn for turn in turns if per_label is None or turn[0] <= per_label)
    return sorted(number for _, _, number in kept[:most])


def part_rows(
    rows: Mapping[str, Sequence[Row]],
    key: Callable[[Any], Hashable],
    stratum: Callable[[Row], str],
    shares: Mapping[str, float],
    generator: random.Random,
) -> tuple[list[list[Row]], int]:
    """Train, dev and test, no content in two of them, and how many rows were left out as repetitions.

    Of a content in several splits test keeps the first, else dev. A split that is missing is drawn from train.

    Args:
        rows: by split.
        key: what makes two contents the same.
        stratum: of a row: as large a share of each is drawn.
        shares: of train, for dev and test, 0..1.
        generator: decides the draw.
    """
    seen: set[Hashable] = set()
    kept: dict[str, list[Row]] = {}
    for split in reversed(SPLITS):
        kept[split] = []
        for row in rows.get(split, ()):
            if (identity := key(row[0])) not in seen:
                seen.add(identity)
                kept[split].append(row)
    left_out = sum(map(len, rows.values())) - len(seen)
    for split in ("test", "dev"):
        if split not in rows:
            kept["train"], kept[split] = _draw(kept["train"], stratum, shares[split], generator)
    return [kept[split] for split in SPLITS], left_out


def _draw(
    rows: Sequence[Row], stratum: Callable[[Row], str], share: float, generator: random.Random
) -> tuple[list[Row], list[Row]]:
    """What is left of ``rows``, and the share of each stratum that was drawn: one row or more, but not the last."""
    members: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        members.setdefault(stratum(row), []).append(number)
    drawn: set[int] = set()
    for own in members.values():
        drawn.update(generator.sample(own, min(max(1, round(share * len(own))), len(own) - 1)))
    left = [row for number, row in enumerate(rows) if number not in drawn]
    return left, [rows[number] for number in sorted(drawn)]
