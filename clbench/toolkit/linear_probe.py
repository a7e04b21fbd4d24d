"""A linear probe: ridge regression on features, solved in closed form, in fp64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# The penalty is one of these times the mean squared singular value of the centred features, whatever their scale.
PENALTIES = tuple(10.0**power for power in range(-4, 3))


class Examples(NamedTuple):
    """Features (examples, features) and labels (examples,)."""

    features: Tensor
    labels: Tensor


class Probe(NamedTuple):
    """The scores of x are ``x @ weights + biases``: weights (features, labels), biases (labels,)."""

    weights: Tensor
    biases: Tensor
    penalty: float


def fit_probe(train: Examples, labels: Sequence[int]) -> Probe:
    """The W and b that minimise Σ |xW + b − y|² + λ |W|², y a one-hot label; of PENALTIES that of the best λ.

    The best has the least sum of squared errors on each example by the probe of all others, which follows from one
    decomposition (Allen 1974, "PRESS"). Of equals the smallest.

    Args:
        train: features in fp64.
        labels: the classes, in the order of the scores.
    """
    wanted = (train.labels[:, None] == torch.tensor(labels)).double()
    centre, share = train.features.mean(0), wanted.mean(0)
    left, singular, right = torch.linalg.svd(train.features - centre, full_matrices=False)
    squares, projected = singular.square(), left.T @ (wanted - share)
    scale = max(float(squares.mean()), 1e-12)  # features may all be the same
    errors = [_left_out(left, squares, projected, wanted - share, penalty * scale) for penalty in PENALTIES]
    penalty = PENALTIES[errors.index(min(errors))] * scale
    weights = right.T @ (projected * (singular / (squares + penalty))[:, None])
    return Probe(weights, share - centre @ weights, penalty)


def _left_out(left: Tensor, squares: Tensor, projected: Tensor, wanted: Tensor, penalty: float) -> float:
    """The sum of squared errors on each example by the probe of all others: e / (1 − h), h the example's leverage."""
    shrunk = squares / (squares + penalty)
    leverage = left.square() @ shrunk + 1 / len(left)
    errors = (wanted - left @ (projected * shrunk[:, None])) / (1 - leverage).clamp(min=1e-9)[:, None]
    return float(errors.square().sum())


def probe_accuracy(train: Examples, test: Examples) -> float:
    """The share of ``test`` that a probe of ``train`` gets right; of equal scores the smallest label's counts."""
    labels = sorted(set(train.labels.tolist()))
    probe = fit_probe(train, labels)
    answers = torch.tensor(labels)[(test.features @ probe.weights + probe.biases).argmax(1)]
    return float((answers == test.labels).double().mean())
