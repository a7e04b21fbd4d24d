"""Learning without forgetting: the model as it was before the task guides the new one on the old labels.

Li & Hoiem 2016, "Learning without Forgetting"; the temperature and its square as in Hinton et al. 2015: the loss gains
alpha · T² · KL(softmax(teacher / T) ‖ softmax(student / T)), the mean over the batch's examples and the old tasks,
and over an example's answers where it has several: the tags of a sentence's words, the tokens of a written answer.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import IGNORE, Range


class Distillation(Strategy):
    """The teacher sees the batch that the student learns from: new texts, and remembered ones when stacked with replay.

    In the task setting each old task's labels are one distribution; in the class setting all old labels together are.

    Args:
        temperature: T, above 0; higher softens both distributions.
        alpha: weight of the distillation loss beside the task loss; 1, the paper's, was no worse than 3 on
            text_seq's dev texts.
        alpha_grows: alpha is multiplied by the number of old tasks; with alpha 1 and the loss as a whole divided by the
            number of tasks, which Adam does not see, the weighting of van de Ven and Tolias (2018): 1/t of the loss is
            the new task's.
    """

    idle_in_first_task = ("loss",)
    search_spaces = {"temperature": Range(1.0, 8.0, log=True), "alpha": Range(0.1, 10.0, log=True)}

    def __init__(self, temperature: float = 2.0, alpha: float = 1.0, alpha_grows: bool = False) -> None:
        if temperature <= 0 or alpha < 0:
            raise InputError(f"distillation: {temperature=}, {alpha=}; allowed: temperature above 0, alpha 0 or more")
        self.temperature = temperature
        self.alpha = alpha
        self.alpha_grows = alpha_grows

    def setup(self, learner: Learner) -> None:
        """No teacher before the first task has ended."""
        self.learner = learner
        self.teacher: nn.Module | None = None
        self._set_learned(0)

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        """The weighted divergence from the teacher's distributions over the old labels."""
        if self.teacher is None:
            return None
        with torch.no_grad():
            target = learner.logits(batch, self.teacher) / self.temperature
        student = logits / self.temperature
        divergences = [
            self._divergence(student[..., columns], target[..., columns], batch["labels"]) for columns in self.old
        ]
        alpha = self.alpha * (self.tasks_learned if self.alpha_grows else 1)
        return alpha * self.temperature**2 * torch.stack(divergences).mean()

    def _divergence(self, student: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """The mean over the examples of KL(target ‖ student); of one with several answers, the mean over them."""
        terms = nn.functional.kl_div(student.log_softmax(-1), target.log_softmax(-1), reduction="none", log_target=True)
        if labels.ndim == 2:
            answered = labels != IGNORE
            terms = terms * (answered / answered.sum(1, keepdim=True).clamp(min=1))[..., None]
        return terms.sum() / len(terms)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Freeze a copy of the model as the next task's teacher."""
        self._set_learned(learner.tasks_seen)
        self.teacher = copy.deepcopy(learner.model).eval().requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        """The teacher's weights."""
        weights = {} if self.teacher is None else dict(self.teacher.state_dict())
        return {"tasks_learned": self.tasks_learned, "teacher": weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the teacher."""
        self._set_learned(state["tasks_learned"])
        if state["teacher"]:
            self.teacher = copy.deepcopy(self.learner.model).eval().requires_grad_(False)
            self.teacher.load_state_dict(state["teacher"])

    def _set_learned(self, tasks: int) -> None:
        """Note how many tasks are learned, and the columns of each distribution of their labels."""
        self.tasks_learned = tasks
        labels, device = self.learner.labels, self.learner.device
        groups = {tuple(labels.candidates(task, tasks)) for task in range(tasks)}
        # Where answers are written, each of their tokens is one distribution over the vocabulary.
        self.old: list[Tensor | slice] = [slice(None)] if tasks and not self.learner.kind.over_labels else []
        self.old += [torch.tensor(group, device=device) for group in sorted(groups) if group]
