"""Tasks from rows of texts and labels, and splits of images: what a scenario of your own builds its tasks with."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from clbench.errors import InputError, unknown
from clbench.scenario import Task
from clbench.tasks import splits
from clbench.tasks.rare import Rare, check_rare, check_spelling, treat_rare
from clbench.tasks.splits import Content
from clbench.text import TextOrPair, same_content

if TYPE_CHECKING:
    import datasets
    import numpy as np

# A label needs a text to train on, one for dev and one for test; what two, one or none are for where that is allowed.
FEWEST_TEXTS = 3
COUNTS_OF_FEW = ((0, 0, 0), (1, 0, 0), (1, 0, 1))
WAYS_OUT = "or say rare='allow' to keep such labels, 'merge' to make them one, or 'drop' to leave them out"


def text_dataset(rows: Sequence[tuple[TextOrPair, str]], labels: Sequence[str]) -> datasets.Dataset:
    """A split with the columns ``text`` and ``label`` from tuples (text, label name).

    Where a text is a tuple of two, the second is in the column ``text_pair``.

    Raises:
        InputError: some rows have a pair and others do not.
    """
    import datasets

    index = {label: position for position, label in enumerate(labels)}
    texts, pairs = _columns([text for text, _ in rows])
    columns: dict[str, list[Any]] = {"text": texts, **pairs, "label": [index[label] for _, label in rows]}
    kinds = {name: datasets.Value("int64" if name == "label" else "string") for name in columns}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))


def _columns(contents: Sequence[TextOrPair]) -> tuple[list[str], dict[str, list[str]]]:
    """The texts, and in a column of its own what is read after each."""
    texts = [content for content in contents if isinstance(content, str)]
    pairs = [content for content in contents if not isinstance(content, str)]
    if texts and pairs:
        raise InputError(f"{len(pairs)} of {len(contents)} texts have a text_pair; allowed: all or none")
    if not pairs:
        return texts, {}
    return [text for text, _ in pairs], {"text_pair": [pair for _, pair in pairs]}


def image_dataset(images: np.ndarray, labels: Sequence[int]) -> datasets.Dataset:
    """A split with the columns ``image`` and ``label`` from floats in 0..1: examples, channels, height, width."""
    import datasets
    import numpy as np
    import pyarrow

    kind = datasets.Array3D(shape=images.shape[1:], dtype="float32")
    features = datasets.Features({"image": kind, "label": datasets.Value("int64")})
    # Lists of lists of lists over the pixels as they lie; Dataset.from_dict would copy image by image.
    nested = pyarrow.array(np.ascontiguousarray(images, "float32").reshape(-1))
    for size in reversed(images.shape[1:]):
        starts = pyarrow.array(np.arange(0, len(nested) + 1, size, dtype="int32"))
        nested = pyarrow.ListArray.from_arrays(starts, nested)
    columns = {"image": pyarrow.ExtensionArray.from_storage(kind(), nested), "label": list(labels)}
    return datasets.Dataset(pyarrow.table(columns, schema=features.arrow_schema))


def task_from_rows(
    name: str,
    rows: Iterable[tuple[TextOrPair, str]],
    seed: int,
    *,
    dev: float = 0.15,
    test: float = 0.25,
    labels: Sequence[str] | None = None,
    rare: Rare = "refuse",
    shared_labels: bool = False,
) -> Task:
    """A text task from rows (text, label name), split by ``seed``, the same share of each label in every split.

    Texts that differ in case or white space only are one example; a text with two different labels is left out. The
    task's notes say how many.

    Args:
        name: the task's name.
        rows: tuples (text, label name), or ((text, text that is read after it), label name).
        seed: which texts go to which split.
        dev: share of the texts for dev, 0..1.
        test: share of the texts for test, 0..1.
        labels: the label names in order; by default those that occur, sorted.
        rare: what becomes of labels with fewer than three distinct texts: "refuse"; "allow", which trains on one text
            and tests on the second, if there is one; "merge", which makes them one label, "other"; or "drop".
        shared_labels: the labels' names mean the same in every task; see `clbench.Task`.

    Raises:
        InputError: shares that leave nothing to train on, a label with too few texts, or labels spelled almost alike.
    """
    if not (dev > 0 and test > 0 and dev + test < 1):
        raise InputError(f"shares dev={dev} and test={test} must be positive and leave something to train on")
    kept, names, notes = _clean(name, list(rows), same_content, labels, rare)
    few = {label for label, count in splits.count_labels(kept, names).items() if count < FEWEST_TEXTS}
    if rare == "refuse" and few:
        _refuse(name, kept, names, few)
    kept, names, told = treat_rare(kept, names, few, rare)
    available = splits.count_labels(kept, names)
    if rare != "allow" and min(available.values(), default=0) < FEWEST_TEXTS:  # those that were merged are still few
        _refuse(name, kept, names, {label for label, count in available.items() if count < FEWEST_TEXTS})
    usual = splits.fractional_counts({n: count for n, count in available.items() if count >= FEWEST_TEXTS}, dev, test)
    counts = {label: usual.get(label) or COUNTS_OF_FEW[available[label]] for label in names}
    parts = splits.draw(kept, counts, random.Random(f"{seed}/{name}"))
    return _task(name, names, parts, (*notes, *told), incomplete=rare == "allow" and bool(few), shared=shared_labels)


def task_from_splits(
    name: str,
    train: Iterable[tuple[TextOrPair, str]],
    test: Iterable[tuple[TextOrPair, str]],
    seed: int,
    *,
    dev: Iterable[tuple[TextOrPair, str]] | float = 0.15,
    labels: Sequence[str] | None = None,
    rare: Rare = "refuse",
    shared_labels: bool = False,
) -> Task:
    """A text task from official splits of rows (text, label name).

    Of a text in several splits test keeps it, else dev; a text with two different labels is left out of all. The task's
    notes say how many.

    Args:
        name: the task's name.
        train, test: as ``rows`` of :func:`task_from_rows`.
        seed: which texts go to dev, where it is drawn.
        dev: rows, or the share of the train texts of each label that are drawn for it, 0..1.
        labels: the label names in order; by default those that occur, sorted.
        rare: what becomes of labels without a text in train or in test: "refuse"; "allow", where a split may lack a
            label; "merge", which makes them one label, "other"; or "drop".
        shared_labels: the labels' names mean the same in every task; see `clbench.Task`.

    Raises:
        InputError: an empty split, a label that is missing in one, or labels spelled almost alike.
    """
    if isinstance(dev, float | int) and not 0 < dev < 1:
        raise InputError(f"share dev={dev} must be above 0 and below 1")
    given = {"test": test, "dev": () if isinstance(dev, float | int) else dev, "train": train}
    # In this order, so that the first of equal texts, which is kept, is that of test.
    marked = [((split, text), label) for split, own in given.items() for text, label in own]
    kept, names, notes = _clean(name, marked, lambda content: same_content(content[1]), labels, rare)
    lacking = _lacking(kept, names)
    if rare == "refuse" and lacking:
        split = next(split for split in ("train", "test") if lacking & _lacking(kept, names, (split,)))
        label = min(lacking & _lacking(kept, names, (split,)), key=names.index)
        raise InputError(f"task {name!r}: {split} has no text of the label {label!r}; {WAYS_OUT}")
    kept, names, told = treat_rare(kept, names, lacking, rare)
    if rare != "allow" and (still := sorted(_lacking(kept, names))):
        raise InputError(
            f"task {name!r}: train or test has no text of the label {still[0]!r}, merged or not; {WAYS_OUT}"
        )
    rows = {split: [(text, label) for (own, text), label in kept if own == split] for split in given}
    if isinstance(dev, float | int):
        counts = {}
        for label, count in splits.count_labels(rows["train"], names).items():
            drawn = max(0, min(max(1, round(count * dev)), count - 1))
            counts[label] = (count - drawn, drawn, 0)
        rows["train"], rows["dev"], _ = splits.draw(rows["train"], counts, random.Random(f"{seed}/{name}"))
    for split, own in rows.items():
        if not own:
            raise InputError(f"task {name!r}: no text is left for {split}")
    parts = (rows["train"], rows["dev"], rows["test"])
    return _task(
        name, names, parts, (*notes, *told), incomplete=rare == "allow" and bool(lacking), shared=shared_labels
    )


def _clean(
    name: str,
    rows: list[tuple[Content, str]],
    key: Callable[[Content], Hashable],
    labels: Sequence[str] | None,
    rare: str,
) -> tuple[list[tuple[Content, str]], tuple[str, ...], tuple[str, ...]]:
    """The distinct rows, the label names, and a note on what was left out."""
    check_rare(rare)
    left_out = splits.count_left_out(rows, key)
    kept = splits.deduplicate(rows, key)
    names = tuple(labels) if labels is not None else tuple(sorted({label for _, label in kept}))
    for _, label in kept:
        if label not in names:
            raise unknown(f"label of task {name!r}", label, names)
    check_spelling(f"task {name!r}: the labels", names)
    return kept, names, (left_out,) if left_out else ()


def _refuse(name: str, rows: Sequence[tuple[TextOrPair, str]], names: Sequence[str], few: set[str]) -> None:
    label = min(few, key=names.index)
    count = splits.count_labels(rows, names)[label]
    raise InputError(
        f"task {name!r}: label {label!r} has {count} distinct text(s), needs at least {FEWEST_TEXTS}; {WAYS_OUT}"
    )


def _lacking(
    rows: Iterable[tuple[tuple[str, TextOrPair], str]], names: Iterable[str], needed: Sequence[str] = ("train", "test")
) -> set[str]:
    """The labels without a row in one of the ``needed`` splits."""
    present = {(split, label) for (split, _), label in rows}
    return {label for label in names if any((split, label) not in present for split in needed)}


def _task(
    name: str,
    names: tuple[str, ...],
    parts: Sequence[Sequence[tuple[TextOrPair, str]]],
    notes: tuple[str, ...],
    *,
    incomplete: bool,
    shared: bool,
) -> Task:
    train, dev, test = (text_dataset(part, names) for part in parts)
    return Task(name, "text", names, train, dev, test, shared_labels=shared, incomplete=incomplete, notes=notes)
