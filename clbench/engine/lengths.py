"""How many texts a run cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clbench.data import Example, TaskData
from clbench.kinds import count_cut, whole_lengths
from clbench.scenario import Task


def warn_of_cuts(
    tasks: Sequence[Task],
    splits: Sequence[str],
    data: Sequence[TaskData],
    tests: Sequence[Sequence[Example]],
    tokenizer: Any,
    max_length: int,
) -> list[str]:
    """A line on the texts that are longer than ``max_length`` tokens; nothing where there are none.

    Args:
        tasks: with the texts.
        splits: those that ``data`` and ``tests`` come from, in the order train, dev, test.
        data, tests: the examples of each task.
        tokenizer: of the texts; None for images.
        max_length: tokens after which the examples were cut.
    """
    if tokenizer is None:
        return []
    texts = [text for task in tasks for split in splits for text in getattr(task, split)["text"][:]]
    parts = [part for task, test in zip(data, tests, strict=True) for part in (task.train, task.dev, test)]
    ids = [example["input_ids"] for part in parts for example in part]
    lengths = whole_lengths(texts, ids, tokenizer, max_length)
    return [count_cut(lengths, max_length)] if max(lengths) > max_length else []
