"""Statistics of batch normalisation, which all tasks share whatever else is each task's own."""

from __future__ import annotations

from torch import nn

from clbench.errors import InputError
from clbench.learner import Learner


def check_statistics(learner: Learner) -> None:
    """Refuse a model whose statistics training moves, where no task may change what another's modules answer.

    Raises:
        InputError: says which setting leaves them as they are.
    """
    model, training = learner.model, learner.model.training
    model.train()
    moving = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training and module.track_running_stats
    ]
    model.train(training)
    if moving:
        raise InputError(
            f"--batch-norm updated moves statistics that every task's own modules answer with ({len(moving)} layers, "
            f"such as {moving[0]}); allowed: --batch-norm frozen"
        )
