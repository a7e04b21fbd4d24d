"""Merging task vectors, what each task's training added to the same pretrained weights, into one.

Ilharco et al. 2023, "Editing Models with Task Arithmetic", for the mean; Yadav et al. 2023, "TIES-Merging".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


def merged(
    vector: Callable[[int, int], Tensor], tasks: int, weights: int, method: str, density: float
) -> Iterator[Tensor]:
    """One weight after the other, merged over the tasks; no more than one weight of all tasks is held at a time.

    Args:
        vector: gives what a task (first) added to a weight (second).
        tasks: how many.
        weights: how many.
        method: "mean", "ties" or "magnitude_max".
        density: share of each task's whole vector that TIES keeps, above 0, at most 1.
    """
    if method == "ties":
        trims = [trim_threshold([vector(task, number) for number in range(weights)], density) for task in range(tasks)]
        thresholds = torch.stack(trims)
        merge: Callable[[Tensor], Tensor] = functools.partial(ties, thresholds=thresholds)
    else:
        merge = mean if method == "mean" else magnitude_max
    for number in range(weights):
        yield merge(torch.stack([vector(task, number) for task in range(tasks)]))


def mean(vectors: Tensor) -> Tensor:
    """The mean over the tasks of ``vectors`` (tasks, ...)."""
    return vectors.mean(0)


def magnitude_max(vectors: Tensor) -> Tensor:
    """Element by element the task's value that is farthest from 0; of equally far ones the first task's."""
    largest: Tensor = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))[0]
    return largest


def trim_threshold(vector: Sequence[Tensor], density: float) -> Tensor:
    """The magnitude down to which TIES keeps the elements of one task's whole vector (a scalar).

    Args:
        vector: all weights of one task vector.
        density: share of the elements to keep, above 0, at most 1; at least one is kept.
    """
    magnitudes = torch.cat([part.abs().flatten() for part in vector])
    dropped = len(magnitudes) - max(1, math.floor(density * len(magnitudes)))
    return magnitudes.kthvalue(dropped + 1).values


def ties(vectors: Tensor, thresholds: Tensor) -> Tensor:
    """Trim, elect signs, average those who agree (Yadav et al. 2023, section 4, algorithm 1).

    The elected sign of an element is the sign of the trimmed values' sum; where that is 0 the result is 0.

    Args:
        vectors: one weight of all tasks (tasks, ...).
        thresholds: of each task (tasks,), from :func:`trim_threshold`.
    """
    least = thresholds.view(-1, *[1] * (vectors.ndim - 1))
    trimmed = vectors * (vectors.abs() >= least)
    elected = trimmed.sum(0).sign()
    agreeing = (trimmed.sign() == elected) & (elected != 0)
    return (trimmed * agreeing).sum(0) / agreeing.sum(0).clamp(min=1)
