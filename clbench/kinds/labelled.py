"""What kinds share whose examples have one label each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from clbench.data import Example
from clbench.kinds.base import Kind, Part


class Labelled(Kind):
    """One label an example; its column of the output layer is the answer."""

    beside = "macro_f1"

    def chance(self, measure: str, truths: Sequence[Any]) -> float | None:
        """The share of the most frequent label, by accuracy, where there are two."""
        counts = Counter(truths)
        return max(counts.values()) / len(truths) if measure == "accuracy" and len(counts) > 1 else None


def labelled_examples(part: Part, features: Sequence[dict[str, Any]]) -> list[Example]:
    """``features`` of each row with its label's column and its task."""
    columns = [part.columns[label] for label in part.data["label"][:]]
    return [{**f, "label": column, "task_id": part.position} for f, column in zip(features, columns, strict=True)]
