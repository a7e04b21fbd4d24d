"""The diagonal Fisher information: the mean over examples of squared per-example gradients of log p(y|x).

F_i = 1/N Σ_n E_y [ (∂ log p(y|x_n) / ∂θ_i)² ] (Kirkpatrick et al. 2017; Kunstner et al. 2019 on the kinds):
``sampled`` draws one label a text from the model, ``empirical`` takes the true one, ``exact`` the expectation over all.
The squares are of single examples, never of a batch's mean, so the result does not depend on any batch size. An
example that has several answers, such as a sentence with a tag a word, counts as one: its whole likelihood is squared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from clbench.data import Batch, Example, padded
from clbench.learner import Learner
from clbench.models import ranks
from clbench.toolkit.passes import in_passes
from clbench.toolkit.per_example import Sums, add_squares, rows_observed, squares_collected, supported

FisherKind = Literal["sampled", "empirical", "exact"]


def diagonal_fisher(
    learner: Learner,
    examples: Sequence[Example],
    kind: FisherKind,
    generator: torch.Generator,
    *,
    loop: bool = False,
    token_budget: int = 0,
) -> dict[str, Tensor]:
    """The diagonal Fisher of every learning parameter over ``examples``, the model in eval mode.

    Args:
        learner: the model; the candidate labels are those that its training scores.
        examples: tokenised examples.
        kind: whose labels: "sampled", "empirical" or "exact".
        generator: the stream from which labels are sampled, a number for each answer of an example.
        loop: take the gradients one example at a time, the slow reference.
        token_budget: tokens of one pass, 0 for what suits the device; changes the memory for activations, nothing else.
            Where memory runs out it is halved.

    Returns:
        For each learning parameter's name a tensor of its shape, fp32, on its device.
    """
    was_training = learner.model.training
    learner.model.eval()
    parameters = dict(learner.named_parameters())
    counts = [learner.kind.draws(example) for example in examples]
    draws = torch.rand(sum(counts), generator=generator).split(counts)

    own = ranks.my_share(range(len(examples)))

    def weighted_losses(numbers: Sequence[int]) -> Iterator[Tensor]:
        batch = learner.collate([examples[i] for i in numbers])
        return _weighted_losses(learner, batch, kind, [draws[i] for i in numbers])

    def squares(batches: Iterable[list[int]]) -> Sums:
        sums = {p: torch.zeros_like(p, dtype=torch.float32) for p in parameters.values()}
        for places in batches:
            numbers = [own[place] for place in places]
            if batched:
                with squares_collected(learner.model, sums, len(numbers)):
                    for losses in weighted_losses(numbers):
                        losses.sum().backward(retain_graph=kind == "exact")
                continue
            for number in numbers:  # a pass each: a backward pass goes through the whole of its forward pass
                for (loss,) in weighted_losses([number]):
                    add_squares(loss, sums)
        return sums

    try:
        with learner.unscaled():
            batched = not loop and supported(learner.model) and _fits(learner, examples[0])
            sums = in_passes(learner, [examples[i] for i in own], squares, token_budget)
            ranks.sum_in_place(list(sums.values()))
    finally:
        learner.model.train(was_training)
    return {name: sums[p] / len(examples) for name, p in parameters.items()}


def _fits(learner: Learner, example: Example) -> bool:
    """Whether the hooks suit the model's forward pass; two sizes, so that no other dimension is taken for examples."""
    batches = [learner.collate([example] * count) for count in (2, 3)]
    return all(rows_observed(learner.model, partial(learner.logits, batch), len(batch["labels"])) for batch in batches)


def _weighted_losses(learner: Learner, batch: Batch, kind: FisherKind, draws: Sequence[Tensor]) -> Iterator[Tensor]:
    """Per-example losses (examples,) whose squared gradients sum to the batch's share of the Fisher."""
    logits = learner.mask(learner.logits(batch), batch["task_ids"])
    labels = batch["labels"]
    numbers = padded(draws, 0.0)
    yield from learner.kind.fisher_losses(logits, labels, kind, numbers[:, 0] if labels.ndim == 1 else numbers)
