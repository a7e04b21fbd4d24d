"""Which examples of a pool a memory keeps: equal shares for groups, and herding's order within one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from clbench.data import Example, label_group


def deal(
    pool: Sequence[tuple[Any, Example]], places: int, lot: Callable[[Any], float] = lambda _: 0.0
) -> list[Example]:
    """Deal the places out one at a time, group after group, until they or the examples are used up.

    Args:
        pool: each example with its group, the best of a group first.
        places: examples to keep.
        lot: a group's; in each turn the lowest go first, of equals the lesser group.
    """
    rank: Counter[Any] = Counter()
    ranked: list[tuple[int, float, Any, int, Example]] = []
    for group, example in pool:
        ranked.append((rank[group], lot(group), group, len(ranked), example))
        rank[group] += 1
    return [example for *_, example in sorted(ranked)[:places]]


def herding_order(features: Tensor, count: int) -> list[int]:
    """The first ``count`` rows in iCaRL's order: each brings the mean of the rows so far nearest to the mean of all.

    Rebuffi et al. 2017, algorithm 4: p_k = argmin_x ‖μ − (φ(x) + Σ_{j<k} φ(p_j)) / k‖, φ of unit length. Then the
    norm of k · (…) is least where (k μ − Σ_{j<k} φ(p_j)) · φ(x) is greatest. Ties go to the first row.

    Args:
        features: (examples, features) of one label.
        count: rows wanted.
    """
    unit = torch.nn.functional.normalize(features.double(), dim=-1)
    mean = unit.mean(0)
    wanted = mean.clone()
    order: list[int] = []
    for _ in range(min(count, len(unit))):
        scores = unit @ wanted
        scores[order] = float("-inf")
        order.append(int(scores.argmax()))
        wanted += mean - unit[order[-1]]
    return order


def herded(examples: Sequence[Example], features: Tensor, count: int) -> list[Example]:
    """The first ``count`` examples of each label of each task in herding order.

    Args:
        examples: of one task.
        features: (examples, features).
        count: examples wanted of each label.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, example in enumerate(examples):
        groups[example["task_id"], label_group(example)].append(number)
    return [examples[rows[i]] for rows in groups.values() for i in herding_order(features[rows], count)]
