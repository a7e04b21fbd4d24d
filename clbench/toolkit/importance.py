"""What strategies that hold important weights share: copies, the pull back, and each weight's share in the loss.

All of it is dicts from a parameter's name to an fp32 tensor of its shape, worked on by fused operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clbench.learner import Learner

Weights = dict[str, Tensor]


def copy_weights(learner: Learner) -> Weights:
    """The learning parameters' values now; shares no memory with them."""
    return {name: p.detach().to(torch.float32, copy=True) for name, p in learner.named_parameters()}


def zeros(learner: Learner) -> Weights:
    """A zero for each learning weight."""
    return {name: torch.zeros_like(p, dtype=torch.float32) for name, p in learner.named_parameters()}


def to_device(weights: Weights, device: torch.device) -> Weights:
    """``weights`` on ``device``, as a strategy takes them from a checkpoint."""
    return {name: value.to(device) for name, value in weights.items()}


def add_pull(learner: Learner, importance: Weights, centre: Weights, strength: float) -> None:
    """Add strength · importance · (θ − centre) to the gradients of the parameters that have an importance."""
    named = [(name, p) for name, p in learner.named_parameters() if p.grad is not None and name in importance]
    if named:
        pull = torch._foreach_sub([p.detach() for _, p in named], [centre[name] for name, _ in named])
        gradients = [p.grad for _, p in named if p.grad is not None]
        torch._foreach_addcmul_(gradients, [importance[name] for name, _ in named], pull, value=strength)


class PathIntegral:
    """What each weight's moves did to the loss, to first order: −Σ_steps g · Δθ.

    Zenke et al. 2017, "Continual Learning Through Synaptic Intelligence", equation 3; Δθ is the optimizer's step.

    Attributes:
        start: the learning weights where the path began.
        decrease: how much each weight's moves since then lowered the loss.
    """

    def __init__(self) -> None:
        self.start: Weights = {}
        self.decrease: Weights = {}
        self.gradients: Weights = {}
        self.before: Weights = {}

    def begin(self, learner: Learner) -> None:
        """Start here, with nothing on the way yet."""
        self.start, self.decrease = copy_weights(learner), zeros(learner)

    def before_step(self, learner: Learner) -> None:
        """Keep the gradients as they are now, and the weights."""
        named = [(name, p.grad) for name, p in learner.named_parameters() if name in self.decrease]
        self.gradients = {name: g.detach().to(torch.float32, copy=True) for name, g in named if g is not None}
        self.before = copy_weights(learner)

    def after_step(self, learner: Learner) -> None:
        """Add the step."""
        now = dict(learner.named_parameters())
        names = [name for name in self.gradients if name in now]
        if names:
            shares = torch._foreach_sub([now[name].detach() for name in names], [self.before[name] for name in names])
            torch._foreach_mul_(shares, [self.gradients[name] for name in names])
            if learner.precision == "fp16":
                # A step that the gradient scaler skipped moved nothing, but its gradients may be infinite.
                for share in shares:
                    share.nan_to_num_(0.0, 0.0, 0.0)
            torch._foreach_sub_([self.decrease[name] for name in names], shares)
        self.gradients, self.before = {}, {}

    def state_dict(self) -> dict[str, Any]:
        """Where the path began and what it gathered; it is saved between steps only."""
        return {"start": self.start, "decrease": self.decrease}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.start, self.decrease = to_device(state["start"], device), to_device(state["decrease"], device)


def unit_range(weights: Weights) -> Weights:
    """``weights`` brought to 0..1: the least of all values to 0, the greatest to 1; all 0 where they are equal."""
    least = torch.stack([value.min() for value in weights.values()]).min()
    span = torch.stack([value.max() for value in weights.values()]).max() - least
    return {name: (value - least) / span.clamp(min=torch.finfo(torch.float32).tiny) for name, value in weights.items()}
