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
from clbench.toolkit import Range, Weights, copy_weights, to_device


class EMA(Strategy):
    """The average starts at the pretrained weights and runs on from task to task.

    When a task ends the average is put into the model, so that the evaluation, and what other strategies do after the
    task, see what answers; the live weights are kept aside until the next task. What learns no more (a module, the
    body, output rows that another strategy holds) stays as it answered: nothing of it is left to average.

    Args:
        decay: 0 (no averaging) to below 1; about the last 1 / (1 − decay) steps count. The default is the best of
            0.9, 0.95 and 0.99 on text_seq's dev texts; with 0.99 the average spans tasks (of 38 steps) and is slow to
            learn the newest.
        next_task: whether the next task starts from the "live" weights or from the "average".
    """

    decides = ("which weights answer",)
    hook_phases = {"before_task": "restore", "after_task": "move"}
    search_spaces = {"decay": Range(0.8, 0.99)}

    def __init__(self, decay: float = 0.95, next_task: Literal["live", "average"] = "live") -> None:
        if not 0 <= decay < 1:
            raise InputError(f"ema: {decay=}; allowed: 0 to below 1")
        self.decay, self.next_task = decay, next_task

    def setup(self, learner: Learner) -> None:
        """No average before the first step."""
        self.device = learner.device
        self.average: Weights = {}
        self.live: Weights = {}
        self.start: Weights = {}

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Go on from the live weights; what starts to learn now enters the average as it is."""
        self._put(learner, self.live)
        self.live = {}
        self.average = copy_weights(learner) | self.average
        if learner.held_rows:
            layer = {id(parameter) for parameter in learner.output_layer().parameters()}
            named = {name for name, parameter in learner.named_parameters() if id(parameter) in layer}
            self.start = {name: value for name, value in copy_weights(learner).items() if name in named}

    @torch.no_grad()
    def after_step(self, learner: Learner) -> None:
        """Move the average; of the output layer, where rows are held, those rows that this task has moved."""
        weights = {name: parameter.detach().float() for name, parameter in learner.named_parameters()}
        whole = [name for name in weights if name not in self.start]
        if whole:
            torch._foreach_lerp_([self.average[n] for n in whole], [weights[n] for n in whole], 1 - self.decay)
        for name, start in self.start.items():
            moved = (weights[name] != start).reshape(len(start), -1).any(1)
            share = moved.reshape(-1, *[1] * (start.ndim - 1)) * (1 - self.decay)
            self.average[name].lerp_(weights[name], share.to(start.dtype))

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Let the average answer."""
        if self.next_task == "live":
            self.live = copy_weights(learner)
        self._put(learner, self.average)
        self.start = {}

    @torch.no_grad()
    def _put(self, learner: Learner, weights: Weights) -> None:
        for name, parameter in learner.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])

    def state_dict(self) -> dict[str, Any]:
        """The average, between tasks the live weights, inside one where the rows of the output layer began."""
        return {"average": self.average, "live": self.live, "start": self.start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore all three."""
        self.average, self.live, self.start = (to_device(state[n], self.device) for n in ("average", "live", "start"))
