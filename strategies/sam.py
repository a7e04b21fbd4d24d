"""Sharpness-aware minimisation: each step goes down by the gradient of the worst point nearby.

Foret et al. 2021, "Sharpness-Aware Minimization for Efficiently Improving Generalization", algorithm 1: with the
gradient g at θ the step is taken with the gradient at θ + ρ · g / ‖g‖₂. Wide minima of an old task are left less
easily: Mehta et al. 2023, "An Empirical Investigation of the Role of Pre-training in Lifelong Learning", find that a
pretrained model fine-tuned so forgets less.
"""

import torch
from torch import Tensor

from clbench import Learner, Strategy
from clbench.errors import InputError
from clbench.toolkit import Range


class SAM(Strategy):
    """Every step passes its batch twice, with remembered examples and what other strategies add to the loss.

    Penalties that others add to the gradients (ewc, si, l1) are those of the weights as they are.

    Args:
        rho: ρ, how far away the worst point is looked for, above 0; both papers'. Not tuned here.
    """

    is_recipe = True
    hook_phases = {"read_gradients": "replace"}
    search_spaces = {"rho": Range(0.01, 0.2, log=True)}

    def __init__(self, rho: float = 0.05) -> None:
        if rho <= 0:
            raise InputError(f"sam: {rho=}; allowed: above 0")
        self.rho = rho

    def setup(self, learner: Learner) -> None:
        """Refuse what takes no second gradient."""
        if learner.precision == "fp16":
            raise InputError(
                "sam takes each step's gradients twice, which fp16's scaling does not; allowed: fp32, bf16"
            )

    @torch.no_grad()
    def read_gradients(self, learner: Learner) -> None:
        """Take the gradients again at the worst point nearby, and go back."""
        learning: list[Tensor] = [p for _, p in learner.named_parameters() if p.grad is not None]
        gradients = [p.grad for p in learning if p.grad is not None]
        if not learning:
            return
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        here = [p.detach().clone() for p in learning]
        try:
            torch._foreach_add_(learning, list(torch._foreach_mul(gradients, self.rho / norm.clamp(min=1e-12))))
            assert learner.gradients_again is not None
            with torch.enable_grad():
                learner.gradients_again()
        finally:  # also where memory ran out, and the step is tried again in parts
            torch._foreach_copy_(learning, here)
