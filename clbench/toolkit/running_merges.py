"""Merging tasks' models into one from sums that grow by a task: no old task's model is kept, whatever the rule.

A task's vector τ_t is what its training added to the weights that all tasks start from; the rules merge vectors.
"""

from __future__ import annotations

from collections.abc import Container

import torch
from torch import Tensor

from clbench.toolkit.importance import Weights
from clbench.toolkit.merging import trim_threshold

# The least that a weight's Fisher information counts: where no task measured any, the merge is the mean.
FLOOR = 1e-12
# Vectors that are nearer to one line than this have no plane between them to turn in.
PARALLEL = 0.9995

Sums = dict[str, Weights]
"""What a rule knows of the tasks so far: named sums, each a tensor a weight."""


def add_mean(sums: Sums, vector: Weights) -> Sums:
    """Σ_t τ_t."""
    return {"vectors": _added(sums.get("vectors"), vector)}


def mean(sums: Sums, tasks: int) -> Weights:
    """1/T Σ_t τ_t (Wortsman et al. 2022, "Model soups"; Ilharco et al. 2023 with a scale of 1/T)."""
    return {name: total / tasks for name, total in sums["vectors"].items()}


def add_fisher(sums: Sums, vector: Weights, fisher: Weights) -> Sums:
    """Σ_t F_t τ_t and Σ_t F_t."""
    importance = {name: fisher[name].clamp(min=FLOOR) for name in vector}
    weighed = {name: importance[name] * value for name, value in vector.items()}
    return {"weighed": _added(sums.get("weighed"), weighed), "fisher": _added(sums.get("fisher"), importance)}


def fisher_mean(sums: Sums) -> Weights:
    """Σ_t F_t τ_t / Σ_t F_t (Matena & Raffel 2022, equation 4, with equal weights of the tasks)."""
    return {name: total / sums["fisher"][name] for name, total in sums["weighed"].items()}


def add_ties(sums: Sums, vector: Weights, density: float, learned: Container[str]) -> Sums:
    """Of the trimmed values the sums and the counts of those above and of those below 0.

    Trimming is each task's own affair; the elected sign, and the mean of those who agree, follow from these four.
    ``density`` is a share of the weights that ``learned``: those that were frozen have moved nowhere.
    """
    moved = [value for name, value in vector.items() if name in learned]
    threshold = trim_threshold(moved or list(vector.values()), density)
    found: Sums = {"above": {}, "below": {}, "many_above": {}, "many_below": {}}
    for name, value in vector.items():
        trimmed = value * (value.abs() >= threshold)
        found["above"][name], found["below"][name] = trimmed.clamp(min=0), trimmed.clamp(max=0)
        found["many_above"][name], found["many_below"][name] = (trimmed > 0).short(), (trimmed < 0).short()
    return {key: _added(sums.get(key), part) for key, part in found.items()}


def ties(sums: Sums) -> Weights:
    """The mean of the trimmed values with the sign of their sum (Yadav et al. 2023, algorithm 1); 0 without one."""
    merged: Weights = {}
    for name, above in sums["above"].items():
        below = sums["below"][name]
        elected = above + below
        for_above = above / sums["many_above"][name].clamp(min=1)
        for_below = below / sums["many_below"][name].clamp(min=1)
        merged[name] = torch.where(elected > 0, for_above, torch.where(elected < 0, for_below, 0.0))
    return merged


def add_slerp(sums: Sums, vector: Weights, tasks: int) -> Sums:
    """The merged vector so far, turned towards the newest task's by its share 1/T, weight by weight."""
    before = sums.get("merged")
    if before is None:
        return {"merged": {name: value.clone() for name, value in vector.items()}}
    return {"merged": {name: slerp(before[name], value, 1 / tasks) for name, value in vector.items()}}


def slerp(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Spherical interpolation from ``one`` (share 0) to ``other`` (share 1), two tensors of one shape.

    (sin((1 − s) Ω) · one + sin(s Ω) · other) / sin Ω, Ω the angle between them (Shoemake 1985): two vectors at a right
    angle keep their length, of which their mean would lose a part. Where they lie on one line, or one is 0, the
    straight interpolation.
    """
    lengths = one.norm() * other.norm()
    cosine = (one * other).sum() / lengths.clamp(min=torch.finfo(one.dtype).tiny)
    angle = cosine.clamp(-1, 1).arccos()
    turned = (torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * other) / torch.sin(angle)
    straight = (cosine.abs() > PARALLEL) | (lengths == 0)
    return torch.where(straight, one.lerp(other, share), turned)


def _added(past: Weights | None, new: Weights) -> Weights:
    return dict(new) if past is None else {name: past[name] + value for name, value in new.items()}
