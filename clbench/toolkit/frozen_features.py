"""Classifiers on a frozen model's features, solved from sums over the examples: no gradient, and no order of tasks.

Everything is computed in fp64. A sum over tasks depends on their order in its last bits only; a class's own sum does
not depend on it at all where the class belongs to one task.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from clbench.data import Batch, Example, TaskData
from clbench.errors import RunError
from clbench.learner import Learner
from clbench.strategy import Deployable, Strategy
from clbench.toolkit.kept import KeptBatches
from clbench.toolkit.passes import in_passes

FeatureKind = Literal["mean", "output_layer"]
# A matrix of so many squared is 20 GB.
MOST_WIDTH = 50_000


@dataclass
class Moments:
    """What a linear classifier needs to know of the examples: for each label their count and sum, and their products.

    Attributes:
        counts: examples of each label (labels,).
        sums: of their features (labels, features).
        products: Σ x xᵀ over all examples (features, features); (0, 0) where it is not needed.
    """

    counts: Tensor
    sums: Tensor
    products: Tensor

    @classmethod
    def of_nothing(cls, labels: int, features: int, device: torch.device, *, products: bool = True) -> Moments:
        """Moments before the first example."""
        width = features if products else 0
        shapes = ((labels,), (labels, features), (width, width))
        return cls(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    @classmethod
    def from_state(cls, state: dict[str, Tensor], device: torch.device) -> Moments:
        """What :meth:`state_dict` gave, copied to ``device``."""
        return cls(*(state[name].to(device, copy=True) for name in ("counts", "sums", "products")))

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add examples: features (examples, features) in fp64 and labels (examples,)."""
        members = torch.nn.functional.one_hot(labels, len(self.counts)).to(features)
        self.counts += members.sum(0)
        self.sums += members.T @ features
        if self.products.numel():
            self.products += features.T @ features

    @property
    def seen(self) -> Tensor:
        """Which labels have examples (labels,)."""
        return self.counts > 0

    @property
    def means(self) -> Tensor:
        """The mean of each label's features (labels, features), 0 for a label without examples."""
        return self.sums / self.counts.clamp(min=1)[:, None]

    def within_covariance(self) -> Tensor:
        """The covariance of the features about their labels' means, 1/N Σ (x − μ_y)(x − μ_y)ᵀ (features, features)."""
        return (self.products - self.sums.T @ self.means) / self.counts.sum().clamp(min=1)

    def state_dict(self) -> dict[str, Tensor]:
        """The three sums."""
        return {"counts": self.counts, "sums": self.sums, "products": self.products}


class FrozenFeatures(Strategy):
    """Base of the strategies that freeze the model and answer with a linear classifier on (transformed) features.

    A subclass says in :meth:`transform` what the classifier reads and in :meth:`solve` how it follows from the moments.
    A task of which no label has been learned is answered by the untrained model, so its forward transfer is 0. What
    the frozen model makes of a batch is kept for the next evaluation.

    Args:
        features: "mean" of the last layer's token states, or what the "output_layer" reads; of an image always that.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text", "image")
    alone: ClassVar[str] = "it freezes the model and takes no training steps, so there is nothing to protect"
    keep_products: ClassVar[bool] = True

    def __init__(self, features: FeatureKind) -> None:
        self.features = features

    def setup(self, learner: Learner) -> None:
        """Freeze every parameter; nothing is known of any label."""
        learner.model.requires_grad_(False)
        self.seed, self.device, self.labels = learner.seed, learner.device, len(learner.labels.names)
        self.moments: Moments | None = None
        self.classifier: tuple[Tensor, Tensor] | None = None
        self.kept: KeptBatches[tuple[Tensor, Tensor]] = KeptBatches()

    def test_passes(self, evaluations: int) -> int:
        """The first time only."""
        return min(1, evaluations)

    def transform(self, features: Tensor) -> Tensor:
        """What the classifier reads (examples, inputs) of the model's features (examples, features), fp64."""
        return features

    def solve(self, moments: Moments) -> tuple[Tensor, Tensor]:
        """The classifier's weights (labels, inputs) and biases (labels,)."""
        raise NotImplementedError

    def add(self, inputs: Tensor, labels: Tensor, task: TaskData) -> None:
        """Take the classifier's inputs (examples, inputs) and labels (examples,) of a whole task in."""
        if self.moments is None:
            self.moments = Moments.of_nothing(self.labels, inputs.shape[1], self.device, products=self.keep_products)
        self.moments.add(inputs, labels)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Add the task's examples and solve for the classifier."""
        with learner.clock.measure("train"):
            features, labels = collect_features(learner, task.train, self.features)
            self.add(self.transform(features), labels, task)
            assert self.moments is not None
            self.classifier = self.solve(self.moments)

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """The classifier's scores; a label without examples gets less than any other."""
        if (found := self.kept.find(batch)) is None:
            found = logits_and_features(learner, batch, self.features)
            self.kept.keep(batch, found)
        logits, features = found
        columns = slice(None) if task_id is None else list(learner.labels.columns[task_id])
        if self.moments is None or not self.moments.seen[columns].any():
            return logits
        if self.classifier is None:  # the run was resumed
            self.classifier = self.solve(self.moments)
        weights, biases = self.classifier
        scores = (self.transform(features) @ weights.T + biases).float()
        return scores.masked_fill(~self.moments.seen, torch.finfo(scores.dtype).min)

    @property
    def linear(self) -> bool:
        """Whether the scores are linear in the model's features."""
        return type(self).transform is FrozenFeatures.transform

    def deployable(self, learner: Learner, task_id: int | None) -> Deployable | None:
        """The frozen model with the classifier as a linear layer, where it is one."""
        if self.moments is None or not self.linear:
            return None
        weights, biases = self.classifier or self.solve(self.moments)
        unseen = ~self.moments.seen
        lowest = torch.finfo(torch.float32).min
        linear = weights.masked_fill(unseen[:, None], 0.0), biases.masked_fill(unseen, lowest)
        return Deployable(learner.model, linear, self.features)

    def state_dict(self) -> dict[str, Any]:
        """The moments; the classifier follows from them, and what is random from the seed."""
        return {} if self.moments is None else {"moments": self.moments.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the moments."""
        self.classifier = None
        self.moments = Moments.from_state(state["moments"], self.device) if state else None


@torch.inference_mode()
def collect_features(learner: Learner, examples: list[Example], kind: FeatureKind) -> tuple[Tensor, Tensor]:
    """The features (examples, features) in fp64 and labels (examples,) of ``examples``, longest texts first."""
    learner.model.eval()

    def collect(batches: Iterable[list[int]]) -> tuple[Tensor, Tensor]:
        features, labels = [], []
        for numbers in batches:
            batch = learner.collate([examples[number] for number in numbers])
            features.append(logits_and_features(learner, batch, kind)[1])
            labels.append(batch["labels"])
        return torch.cat(features), torch.cat(labels)

    return in_passes(learner, examples, collect)


def logits_and_features(learner: Learner, batch: Batch, kind: FeatureKind) -> tuple[Tensor, Tensor]:
    """The model's logits (examples, labels), fp32, and its features (examples, features), fp64; one forward pass."""
    if kind == "output_layer" or "pixel_values" in batch:
        logits, features = learner.logits_and_features(batch)
        return logits, features.double()
    logits, states, mask = learner.logits_and_states(batch)
    present = mask.double()[:, :, None]
    return logits, (states.double() * present).sum(1) / present.sum(1)


def linear_discriminant(moments: Moments, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Weights (labels, inputs) and biases (labels,) of linear discriminant analysis with equal priors.

    With Σ the covariance about the labels' means and s̄ the mean of its diagonal, S = (1 − shrinkage) Σ + shrinkage s̄ I;
    a label's score of x is μᵀ S⁻¹ x − ½ μᵀ S⁻¹ μ.

    Raises:
        RunError: S cannot be inverted.
    """
    covariance = moments.within_covariance()
    mean_square = moments.products.diagonal().mean() / moments.counts.sum()
    # Where every label has one example Σ is 0, and the nearest mean is the answer.
    variance = torch.maximum(covariance.diagonal().mean(), 1e-10 * mean_square)
    shrunk = (1 - shrinkage) * covariance
    shrunk.diagonal().add_(shrinkage * variance)
    factor, failed = torch.linalg.cholesky_ex(shrunk)
    if failed:
        raise RunError(f"{shrinkage=} leaves a covariance of {len(shrunk)} features that cannot be inverted; try more")
    weights = torch.cholesky_solve(moments.means.T, factor).T
    return weights, -(weights * moments.means).sum(1) / 2
