"""What finding a task's best weights takes: the loss on dev examples in between, and a way back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from clbench.data import Example
from clbench.learner import Learner
from clbench.models import ranks
from clbench.toolkit.importance import Weights
from clbench.toolkit.passes import in_passes


def mean_loss(learner: Learner, examples: Sequence[Example]) -> float:
    """The task loss of the model as it is now, the mean over ``examples``, in eval mode; its mode is put back.

    Args:
        learner: the model.
        examples: one or more, such as a task's dev examples.
    """
    was_training = learner.model.training
    learner.model.eval()
    own = ranks.my_share(examples)

    def losses(batches: Iterable[list[int]]) -> list[Tensor]:
        found = []
        for numbers in batches:
            batch = learner.collate([own[number] for number in numbers])
            found.append(learner.example_losses(learner.logits(batch, learner.model), batch).double())
        return found

    try:
        with torch.no_grad():
            found = in_passes(learner, own, losses)
            mean = torch.cat(found).mean() if found else torch.zeros((), dtype=torch.double, device=learner.device)
            return float(ranks.sum_over_processes(mean * (len(own) / len(examples))))
    finally:
        learner.model.train(was_training)


def time_to_measure(learner: Learner, checks: int) -> bool:
    """Whether the step in progress is one of a task's ``checks`` evenly spaced ones, of which the last is its end."""
    done = learner.step + 1
    return done * checks // learner.steps > learner.step * checks // learner.steps


@torch.no_grad()
def put_weights(learner: Learner, weights: Weights) -> None:
    """Let the learning parameters have the values in ``weights``; those that it lacks stay."""
    for name, parameter in learner.named_parameters():
        if name in weights:
            parameter.copy_(weights[name])
