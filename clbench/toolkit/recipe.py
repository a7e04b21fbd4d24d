"""The optimizer, its groups of parameters and its schedule, the same in every loop that trains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from clbench.config import RunConfig, Schedule
from clbench.head import Head

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


def make_optimizer(config: RunConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The run's optimizer, new, over ``groups`` as of :func:`parameter_groups`.

    The decay of Adam and SGD is torch's, a part of the gradient (L2), that of AdamW is decoupled from it.
    """
    if config.optimizer == "sgd":
        descent = torch.optim.SGD(groups, momentum=config.momentum, fused=True)
        if config.momentum:
            descent.register_step_pre_hook(_begin_momentum)
        return descent
    return OPTIMIZERS[config.optimizer](groups, fused=True)  # type: ignore[call-arg]


def _begin_momentum(descent: torch.optim.Optimizer, *_: Any) -> None:
    """Let the momentum of each parameter that has its first gradient be 0, to which the step adds that gradient.

    torch's fused step begins it for all of a group at once or for none: parameters that learn later would fail.
    """
    for group in descent.param_groups:
        for parameter in group["params"]:
            state = descent.state[parameter]
            if parameter.grad is not None and state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)


def learning_rate_factor(step: int, steps: int, warmup: float, schedule: Schedule = "linear") -> float:
    """The share of the peak learning rate at ``step`` (0-based) of ``steps``.

    Args:
        step, steps: where in a task.
        warmup: the share of the steps over which the rate rises to its peak.
        schedule: what it does afterwards: "linear" and "cosine" fall to 0 (reached after the last step), "constant"
            stays.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    left = (steps - step) / max(1, steps - rising)
    if schedule == "cosine":  # Loshchilov & Hutter 2017, equation 5, one period
        return (1 + math.cos(math.pi * (1 - left))) / 2
    return 1.0 if schedule == "constant" else left


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
