"""Label smoothing: a part of each answer's probability is spread over all candidate labels.

Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7: the target is (1 − ε) · one-hot + ε / K, so
that the loss is (1 − ε) · H(label) + ε · (1 / K) · Σ_k −log p_k, over the K labels among which the answer is sought. A
model that is less sure of itself pushes old labels down less.
"""

import torch
from torch import Tensor

from clbench import Batch, Learner, Strategy
from clbench.errors import InputError
from clbench.toolkit import IGNORE, Range


class LabelSmoothing(Strategy):
    """Remembered examples are smoothed as new ones are.

    Args:
        smoothing: ε, above 0 and below 1; the paper's. Not tuned here.
    """

    is_recipe = True
    decides = ("what each row's loss is",)
    search_spaces = {"smoothing": Range(0.01, 0.3)}

    def __init__(self, smoothing: float = 0.1) -> None:
        if not 0 < smoothing < 1:
            raise InputError(f"label_smoothing: {smoothing=}; allowed: above 0 and below 1")
        self.smoothing = smoothing

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """What turns the engine's loss into the smoothed one: ε · (uniform − plain)."""
        masked = learner.mask(logits, batch["task_ids"])
        candidates = masked.isfinite()
        # 0 where no candidate is, before the mean: −inf · 0 is no number, in the gradient neither.
        logs = masked.log_softmax(-1).masked_fill(~candidates, 0.0)
        uniform = -logs.sum(-1) / candidates.sum(-1)
        if uniform.ndim > 1:
            answered = batch["labels"] != IGNORE
            uniform = torch.where(answered, uniform, 0.0).sum(1) / answered.sum(1).clamp(min=1)
        return self.smoothing * (uniform - learner.example_losses(logits, batch)).mean()
