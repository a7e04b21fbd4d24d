"""EWC as tutorials write it: Fisher from one backward pass a text, and one sum over the weights for each past task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
Inputs = dict[str, Tensor]


def fisher_by_loop(model: nn.Module, batches: Sequence[Inputs], stream: torch.Generator | None) -> Weights:
    """The diagonal Fisher from one backward pass a text; labels drawn from the model, or the true ones without stream.

    Args:
        model: gives the loss and logits of a batch.
        batches: each of one text, with its label.
        stream: draws the labels.
    """
    model.eval()
    sums = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for batch in batches:
        model.zero_grad()
        logits, labels = model(**batch)["logits"], batch["labels"]
        if stream is not None:
            labels = torch.multinomial(logits.detach().softmax(-1).cpu(), 1, generator=stream)[:, 0].to(logits.device)
        nn.functional.cross_entropy(logits, labels).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                sums[name] += parameter.grad.square()
    model.zero_grad()
    return {name: total / len(batches) for name, total in sums.items()}


def penalty(model: nn.Module, tasks: Sequence[tuple[Weights, Weights]], strength: float) -> Tensor | float:
    """½ λ Σ_t Σ_i F_ti (θ_i − θ*_ti)² with its graph; ``tasks`` are each past task's Fisher and weights."""
    total: Tensor | float = 0.0
    for fisher, anchor in tasks:
        for name, parameter in model.named_parameters():
            total = total + (fisher[name] * (parameter - anchor[name]).square()).sum()
    return strength / 2 * total
