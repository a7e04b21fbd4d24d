"""Feature distillation: the features read by the output layer stay near those of the model before the task.

Jung et al. 2016, "Less-forgetting Learning in Deep Neural Networks", equation 2, for "l2": the loss gains
alpha · mean over examples of ‖f(x) − f_T(x)‖² / d, f the d features that the output layer reads and f_T the frozen
teacher's. "cosine" is the distance 1 − cos(f, f_T) of Hou et al. 2019, "Learning a Unified Classifier Incrementally
via Rebalancing" (LUCIR), which leaves the features' length free.
"""

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range


class FeatureDistillation(Strategy):
    """The teacher is the model as it was when the last task ended; it sees the batch that the student learns from.

    Only the body is protected. Where old and new tasks share rows of the output layer or compete in it (settings domain
    and class), that layer goes on forgetting, and theory promises little: stack it with replay or distillation.

    Args:
        alpha: weight of the distance beside the task loss, 0 or more; the default is the best of 0.1, 0.3 and 1 on
            text_seq's dev texts.
        distance: "cosine", which means the same for every model, or "l2", which needs a larger alpha where the features
            are small (MiniLM's mean square is about 0.01).
    """

    kinds = ("text", "image")
    search_spaces = {"alpha": Range(0.03, 3.0, log=True)}

    def __init__(self, alpha: float = 0.3, distance: Literal["l2", "cosine"] = "cosine") -> None:
        if alpha < 0:
            raise InputError(f"feature_distillation: {alpha=}; allowed: 0 or more")
        self.alpha, self.distance = alpha, distance

    def setup(self, learner: Learner) -> None:
        """Have the student's features kept; no teacher before the first task has ended."""
        self.learner = learner
        self.teacher: nn.Module | None = None
        learner.keep_features = True

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        """The weighted distance from the teacher's features."""
        if self.teacher is None:
            return None
        with torch.no_grad():
            _, target = learner.logits_and_features(batch, self.teacher)
        assert learner.features is not None
        return self.alpha * feature_distance(learner.features, target, self.distance)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Freeze a copy of the model as the next task's teacher."""
        learner.features = None
        self.teacher = copy.deepcopy(learner.model).eval().requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        """The teacher's weights."""
        return {"teacher": {} if self.teacher is None else dict(self.teacher.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the teacher."""
        if state["teacher"]:
            self.teacher = copy.deepcopy(self.learner.model).eval().requires_grad_(False)
            self.teacher.load_state_dict(state["teacher"])


def feature_distance(features: Tensor, target: Tensor, distance: str) -> Tensor:
    """The mean over examples of the distance between two (examples, features)."""
    if distance == "cosine":
        return (1 - nn.functional.cosine_similarity(features, target, dim=-1)).mean()
    return nn.functional.mse_loss(features, target)
