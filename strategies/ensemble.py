"""Ensemble: several models learn the same tasks from different random streams, and their probabilities are averaged.

Lakshminarayanan et al. 2017, "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles":
p(y|x) = 1/M Σ_m p_m(y|x), each member trained on all data in an order of its own from random weights of its own. Here
all members start from the same pretrained body, each with another output layer, order of the examples and dropout.
"""

import copy
from typing import Any

import torch
from torch import Tensor

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import RunConfig, Training, seeded_torch, stream_seed, temporarily


class Ensemble(Strategy):
    """The first member is the run's own model, trained as naive would; each forgets, but not all forget alike.

    Training and answering cost as often as much, and the others' weights are kept beside the model (stored_bytes);
    they learn one after the other, so that trainable_parameters are one member's. `--ability` measures the first.

    Args:
        members: models, 1 or more; 5 is the paper's, 3 half the price. Not tuned.
    """

    is_recipe = True
    kinds = ("text", "image", "token")
    alone = "ensemble trains its members in a loop of its own"
    counts_steps = False

    def __init__(self, members: int = 3) -> None:
        if members < 1:
            raise InputError(f"ensemble: {members=}; allowed: 1 or more")
        self.members = members

    def setup(self, learner: Learner) -> None:
        """Copies of the model with output layers of their own, as wide as the model's."""
        self.others = [copy.deepcopy(learner.model) for _ in range(self.members - 1)]
        for number, other in enumerate(self.others, start=1):
            with seeded_torch(learner.device, learner.seed, "ensemble", number), torch.no_grad():
                weight = learner.output_layer(other).weight
                weight.copy_(torch.randn(weight.shape).to(weight) * weight.std())

    def train(self, learner: Learner, task: TaskData, config: RunConfig) -> int | None:
        """Each member learns the task; the examples learned from."""
        seen = 0
        for number, member in enumerate((learner.model, *self.others)):
            seed = stream_seed(config.seed, "ensemble", number) if number else config.seed
            with temporarily(learner, model=member, compiled=learner.compiled if not number else None):
                seen += _train(learner, task, config.model_copy(update={"seed": seed}))
        return seen

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """The logarithm of the mean probability among the candidates."""
        answers: list[Tensor] = []
        for member in (learner.model, *self.others):
            member.eval()
            answers.append(learner.mask(learner.logits(batch, member), batch["task_ids"]).log_softmax(-1))
        return torch.stack(answers).logsumexp(0) - torch.tensor(float(self.members)).log()

    def deployable(self, learner: Learner, task_id: int | None) -> None:
        """No single model gives the mean's answers."""
        return

    def state_dict(self) -> dict[str, Any]:
        """The weights of the members beside the model."""
        return {"others": [dict(other.state_dict()) for other in self.others]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        for other, weights in zip(self.others, state["others"], strict=True):
            other.load_state_dict(weights)


def _train(learner: Learner, task: TaskData, config: RunConfig) -> int:
    training = Training(config, Strategy(), learner, task, task.train)
    training.run_all_steps()
    return training.seen
