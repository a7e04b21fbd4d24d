"""R-Drop: each batch passes twice through different dropout, and the two answers must agree.

Liang et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", equations 2 to 4: with P1 and P2 of the two passes
L = −log P1(y) − log P2(y) + α · ½ (KL(P1 ‖ P2) + KL(P2 ‖ P1)), here among the labels where the answer is sought.
"""

from typing import Any

import torch
from torch import Tensor, nn

from clbench import Batch, Learner, Strategy
from clbench.errors import InputError
from clbench.toolkit import IGNORE, Range


class RDrop(Strategy):
    """Remembered examples pass twice, too. A model without dropout modules is refused.

    Args:
        alpha: weight of the divergence, above 0; of the paper's values for language understanding (0.1, 0.5, 1) the
            largest. Not tuned here.
        dropout: rate of all the model's dropout modules while it learns, above 0 and below 1; the paper's.
    """

    is_recipe = True
    kinds = ("text", "token")
    decides = ("the rate of dropout", "what each row's loss is")
    search_spaces = {"alpha": Range(0.1, 5.0, log=True)}

    def __init__(self, alpha: float = 1.0, dropout: float = 0.1) -> None:
        if alpha <= 0:
            raise InputError(f"r_drop: {alpha=}; allowed: above 0")
        if not 0 < dropout < 1:
            raise InputError(f"r_drop: {dropout=}; allowed: above 0 and below 1")
        self.alpha, self.dropout = alpha, dropout

    def setup(self, learner: Learner) -> None:
        """Set the rate, without which both passes would be one."""
        modules: list[Any] = [m for m in learner.model.modules() if isinstance(m, nn.Dropout)]
        if not modules:
            raise InputError(
                f"r_drop: {type(learner.model).__name__} has no dropout modules; allowed: models with some"
            )
        for module in modules:
            module.p = self.dropout

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """The second pass's loss, and how far both are apart."""
        features = learner.features
        other = learner.logits(batch)
        learner.features = features  # other strategies mean those of the first pass
        apart = _divergences(learner, batch, logits, other) + _divergences(learner, batch, other, logits)
        return (learner.example_losses(other, batch) + self.alpha / 2 * apart).mean()


def _divergences(learner: Learner, batch: Batch, one: Tensor, other: Tensor) -> Tensor:
    """KL(one ‖ other) of each example (examples,) among its candidates; the mean over its answers."""
    first, second = (learner.mask(logits, batch["task_ids"]) for logits in (one, other))
    absent = ~first.isfinite()
    first, second = (logits.log_softmax(-1).masked_fill(absent, 0.0) for logits in (first, second))
    found = (first.exp() * (first - second)).sum(-1)
    if found.ndim == 1:
        return found
    answered = batch["labels"] != IGNORE
    return torch.where(answered, found, 0.0).sum(1) / answered.sum(1).clamp(min=1)
