"""Averaging: an exponential moving average of the weights over the training steps gives the answers.

Tarvainen & Valpola 2017, "Mean teachers are better role models": after each step
average ← decay · average + (1 − decay) · θ. Answering with it in continual learning, while the weights themselves go on
learning (next_task="live"), is Stojanovski et al. 2022, "Momentum-based Weight Interpolation of Strong Zero-Shot
Models for Continual Learning".
"""

from typing import Any, Literal

import torch

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Weights, copy_weights, to_device


class EMA(Strategy):
    """The average starts at the pretrained weights and runs on from task to task.

    When a task ends the average is put into the model, so that the evaluation, and what other strategies do after the
    task, see what answers; the live weights are kept aside until the next task.

    Args:
        decay: 0 (no averaging) to below 1; about the last 1 / (1 − decay) steps count. The default is the best of
            0.9, 0.95 and 0.99 on text_seq's dev texts; with 0.99 the average spans tasks (of 38 steps) and is slow to
            learn the newest.
        next_task: whether the next task starts from the "live" weights or from the "average".
    """

    decides = ("which weights answer",)
    hook_phases = {"before_task": "restore", "after_task": "move"}

    def __init__(self, decay: float = 0.95, next_task: Literal["live", "average"] = "live") -> None:
        if not 0 <= decay < 1:
            raise InputError(f"ema: {decay=}; allowed: 0 to below 1")
        self.decay, self.next_task = decay, next_task

    def setup(self, learner: Learner) -> None:
        """No average before the first step."""
        self.device = learner.device
        self.average: Weights = {}
        self.live: Weights = {}

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Go on from the live weights; what starts to learn now enters the average as it is."""
        self._put(learner, self.live)
        self.live = {}
        self.average = copy_weights(learner) | self.average

    def after_step(self, learner: Learner) -> None:
        """Move the average."""
        learned = dict(learner.model.named_parameters())
        weights = [learned[name].detach().float() for name in self.average]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - self.decay)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Let the average answer."""
        if self.next_task == "live":
            learned = dict(learner.model.named_parameters())
            self.live = {name: learned[name].detach().to(torch.float32, copy=True) for name in self.average}
        self._put(learner, self.average)

    @torch.no_grad()
    def _put(self, learner: Learner, weights: Weights) -> None:
        for name, parameter in learner.model.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])

    def state_dict(self) -> dict[str, Any]:
        """The average, and between tasks the live weights."""
        return {"average": self.average, "live": self.live}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self.average, self.live = (to_device(state[name], self.device) for name in ("average", "live"))
