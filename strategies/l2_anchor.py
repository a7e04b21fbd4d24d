"""L2 anchor: every weight is pulled alike, towards the last task's weights or towards the pretrained ones.

The loss gains ½ · strength · Σ_i (θ_i − θ*_i)². With anchor="last" θ* are the weights as the last task left them: EWC
with a Fisher of 1, its baseline in Kirkpatrick et al. 2017. With anchor="pretrained" θ* are the weights that the first
task started from: L2-SP of Li et al. 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks".
"""

from typing import Any, Literal

import torch

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range, Weights, copy_weights, to_device


class L2Anchor(Strategy):
    """What has learned nothing yet is free: the output layer's rows of labels of no finished task.

    With "pretrained" the whole output layer is free, since its first weights are random.

    Args:
        strength: 0 or more; the default is the best of 0.2, 0.8 and 3 on text_seq's dev texts.
        anchor: "last" (no penalty in the first task) or "pretrained" (from the first step on).
    """

    kept_numbers = 1
    search_spaces = {"strength": Range(0.05, 10.0, log=True)}

    def __init__(self, strength: float = 0.8, anchor: Literal["last", "pretrained"] = "last") -> None:
        if strength < 0:
            raise InputError(f"l2_anchor: {strength=}; allowed: 0 or more")
        self.strength, self.anchor = strength, anchor

    def setup(self, learner: Learner) -> None:
        """No anchor before the first task."""
        self.device = learner.device
        self.centre: Weights = {}
        # 1 for a label of a finished task, else 0.
        self.learned = torch.zeros(len(learner.labels.names), device=self.device)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """With "pretrained", keep what the first task starts from."""
        if self.anchor == "pretrained" and not self.centre:
            self.centre = {name: value for name, value in copy_weights(learner).items() if not learner.is_head(name)}

    def before_step(self, learner: Learner) -> None:
        """Add the penalty's gradient to the task's."""
        named = [(name, p) for name, p in learner.named_parameters() if p.grad is not None and name in self.centre]
        if not named:
            return
        pull = torch._foreach_sub([p.detach() for _, p in named], [self.centre[name] for name, _ in named])
        rows = learner.output_layer().parameters() if learner.kind.over_labels else ()
        output_layer = {id(p) for p in rows}
        for (_, parameter), tensor in zip(named, pull, strict=True):
            if id(parameter) in output_layer:
                tensor.mul_(self.learned.view(-1, *[1] * (tensor.ndim - 1)))
        torch._foreach_add_([p.grad for _, p in named if p.grad is not None], pull, alpha=self.strength)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """With "last", move the anchor to where the task ended."""
        if self.anchor == "last":
            self.centre |= copy_weights(learner)
            for columns in learner.labels.columns[: learner.tasks_seen]:
                self.learned[list(columns)] = 1.0

    def state_dict(self) -> dict[str, Any]:
        """The anchor, and which labels it knows."""
        return {"centre": self.centre, "learned": self.learned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the anchor."""
        self.centre, self.learned = to_device(state["centre"], self.device), state["learned"].to(self.device)
