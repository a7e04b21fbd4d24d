"""The optimizer's groups of parameters and its schedule, the same in every loop that trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from clbench.head import Head


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """The share of the peak learning rate at ``step``: up over the warm-up's share of the steps, then down to 0."""
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return (steps - step) / max(1, steps - rising)


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], rates: Mapping[str, float], weight_decay: float, head: Head
) -> list[dict[str, Any]]:
    """An optimizer's groups with the body's and the head's learning rates; no decay of biases, norms and the head.

    Without decay, rows of the output layer that get no gradient do not move.

    Args:
        named: the parameters, by their names in the model or in a wrapper of it.
        rates: peak learning rates of "body" and "head".
        weight_decay: AdamW's.
        head: which of them are the head's.
    """
    groups: dict[str, dict[str, Any]] = {
        "body": {"params": [], "lr": rates["body"], "weight_decay": weight_decay},
        "plain": {"params": [], "lr": rates["body"], "weight_decay": 0.0},
        "head": {"params": [], "lr": rates["head"], "weight_decay": 0.0},
    }
    for name, parameter in named:
        group = "head" if head.owns(name) else "body" if parameter.ndim > 1 else "plain"
        groups[group]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]
