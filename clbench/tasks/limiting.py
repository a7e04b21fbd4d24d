"""Part of a task's data, for a quick run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from clbench.kinds import find_kind
from clbench.rng import generator
from clbench.scenario import Task


def limit_task(task: Task, limit: int | None, seed: int) -> Task:
    """``task`` with at most ``limit`` seeded, evenly labelled train and test examples; None takes all."""
    if limit is None:
        return task
    train, test = (
        split.select(_spread(find_kind(task.kind).strata(split), limit, generator(seed, "limit", task.name, name)))
        for name, split in (("train", task.train), ("test", task.test))
    )
    return replace(task, train=train, test=test)


def _spread(labels: Sequence[int], limit: int, stream: torch.Generator) -> list[int]:
    """At most ``limit`` row numbers, dealt out one label after the other."""
    shuffled = torch.randperm(len(labels), generator=stream).tolist()
    turn: dict[int, int] = {}
    turns = []
    for row in shuffled:
        turn[labels[row]] = turn.get(labels[row], 0) + 1
        turns.append((turn[labels[row]], labels[row], row))
    return sorted(row for _, _, row in sorted(turns)[:limit])
