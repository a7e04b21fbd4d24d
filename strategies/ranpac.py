"""RanPAC: ridge regression of the labels on a random ReLU projection of frozen features; no gradient.

McDonnell et al. 2023, "RanPAC: Random projections and pre-trained models for continual learning": h = max(0, f P) with
P (features, width) from N(0, 1); over all tasks G = Σ h hᵀ and C = Σ h yᵀ add up, y being one-hot, and the scores of h
are hᵀ (G + λ I)⁻¹ C. This is phase 2 of the paper; its phase 1, training adapters on the first task, is left out.
"""

from typing import Any

import torch
from torch import Tensor

from clbench import Learner, TaskData
from clbench.errors import InputError
from clbench.toolkit import MOST_WIDTH, FeatureKind, FrozenFeatures, Moments, generator

HELD_OUT = 0.2
RIDGES = tuple(10.0**power for power in range(-8, 9))


class RanPAC(FrozenFeatures):
    """The order of the tasks does not matter, neither to G and C nor to λ.

    As in the paper λ is the power of ten from 1e-8 to 1e8 with the least squared error on a random fifth of the
    training data that G and C are first made without; then all data count. The paper holds out the newest task's
    fifth; here G and C of every task's fifth add up too, from which the error over all tasks follows without examples.

    Args:
        width: M, the projection's size; the memory is two matrices (width, width), or one where ``ridge`` is given.
            On dev of wordnet_class and text_seq 1000 gave .713 and .796, 2000 .730 and .798 in six times the seconds;
            the paper has 10000.
        ridge: λ, above 0; None chooses it.
        features: the "mean" of the last layer's token states, or what the "output_layer" reads; see ncm.
    """

    def __init__(self, width: int = 1000, ridge: float | None = None, features: FeatureKind = "mean") -> None:
        super().__init__(features)
        if not 1 <= width <= MOST_WIDTH or (ridge is not None and ridge <= 0):
            raise InputError(f"ranpac: {width=}, {ridge=}; allowed: width 1 to {MOST_WIDTH}, ridge above 0 or None")
        self.width, self.ridge = width, ridge

    def setup(self, learner: Learner) -> None:
        """The projection is drawn when the number of features is known."""
        super().setup(learner)
        self.projection: Tensor | None = None
        self.held_out: Moments | None = None

    def transform(self, features: Tensor) -> Tensor:
        """h (examples, width)."""
        if self.projection is None:
            stream = generator(self.seed, "random projection")
            drawn = torch.randn(features.shape[1], self.width, dtype=torch.float64, generator=stream)
            self.projection = drawn.to(self.device)
        return (features @ self.projection).relu()

    def add(self, inputs: Tensor, labels: Tensor, task: TaskData) -> None:
        """Add all examples, and the fifth that is held out to its own sums too."""
        super().add(inputs, labels, task)
        if self.ridge is None:
            # By the task's name, as its place must not matter.
            order = torch.randperm(len(labels), generator=generator(self.seed, "held out", task.name))
            chosen = order[: max(1, round(HELD_OUT * len(labels)))].to(self.device)
            if self.held_out is None:
                self.held_out = Moments.of_nothing(self.labels, self.width, self.device)
            self.held_out.add(inputs[chosen], labels[chosen])

    def solve(self, moments: Moments) -> tuple[Tensor, Tensor]:
        """(G + λ I)⁻¹ C, with the given or the best λ."""
        weights = _ridge_regression(moments, self.ridge or self._best_ridge(moments))
        assert weights is not None
        return weights, weights.new_zeros(len(weights))

    def _best_ridge(self, moments: Moments) -> float:
        """The λ of least error on the held-out examples, their squared labels, the same for all λ, left out."""
        held = self.held_out
        assert held is not None
        rest = Moments(*(whole - part for whole, part in zip(vars(moments).values(), vars(held).values(), strict=True)))
        errors = {}
        for ridge in RIDGES:
            weights = _ridge_regression(rest, ridge)
            if weights is not None:
                # Σ |y − W h|² = Σ |y|² − 2 tr(Wᵀ C) + tr(W G Wᵀ)
                errors[ridge] = float((weights @ held.products * weights).sum() - 2 * (weights * held.sums).sum())
        return min(errors, key=errors.__getitem__)

    def state_dict(self) -> dict[str, Any]:
        """The sums over all examples and over those held out; the projection follows from the seed."""
        held = {} if self.held_out is None else {"held_out": self.held_out.state_dict()}
        return {**super().state_dict(), **held}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums."""
        super().load_state_dict(state)
        self.held_out = Moments.from_state(state["held_out"], self.device) if "held_out" in state else None


def _ridge_regression(moments: Moments, ridge: float) -> Tensor | None:
    """The weights (labels, width) of least squared error plus ridge · |W|²; None where rounding leaves no solution."""
    penalised = moments.products.clone()
    penalised.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(penalised)
    return None if failed else torch.cholesky_solve(moments.sums.T, factor).T
