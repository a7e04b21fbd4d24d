"""Reference: all tasks learned at once, as joint, with a head for each task and a weight for each task's loss.

The loss is Σ_t w_t L_t, L_t the mean over the task's examples. "size": w_t is the task's share of all examples, as in
joint; "uniform": 1/T; "uncertainty": (1/T) Σ_t [exp(−s_t) L_t + s_t / 2] with s_t = log σ_t² learned, the loss of
classification in Kendall et al. 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses", equation 10. For an L_t
that stays as it is s_t = log(2 L_t) is best: harder tasks count less.
"""

from collections.abc import Sequence
from typing import Any, Literal

import datasets
import torch
from torch import Tensor, nn

from clbench import Batch, Learner, Strategy, Task, TaskData
from clbench.toolkit import Choices, upload


class MultiTask(Strategy):
    """A task's head is its rows of the output layer: an example is scored among its own task's labels.

    Only the rows before training and after the last task are measured, so what needs the others is null.

    Args:
        weights: of the tasks' losses; with "size" it is joint. The s_t of "uncertainty" start at 0 and learn at the
            output layer's rate, without decay; they stand in log.jsonl. Not tuned.
    """

    is_recipe = True
    settings = ("task",)
    kinds = ("text", "image", "token")
    own_labels = True
    alone = "multi_task trains on all tasks at once, so there is nothing left to remember"
    keeps_examples = True
    # It counts the rows that there will be.
    hook_phases = {"examples": "augment"}
    search_spaces = {"weights": Choices(("uniform", "size", "uncertainty"))}

    def __init__(self, weights: Literal["uniform", "size", "uncertainty"] = "uniform") -> None:
        self.weights = weights
        if weights != "size":
            self.decides = ("what each row's loss is",)
        self.counts: dict[str, int] = {}
        self.log_variances = nn.Parameter(torch.empty(0))

    def examples(self, learner: Learner, task: Task, rows: datasets.Dataset) -> datasets.Dataset:
        """All rows; their number is what the weights need."""
        self.counts[task.name] = len(rows)
        return rows

    def training_tasks(self, position: int, count: int) -> Sequence[int]:
        """All tasks at the last step, none before."""
        return range(count) if position == count - 1 else ()

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """What an example of each task weighs: in the mean over all examples each task then has 1/T.

        Every variance is 1 before the first step.
        """
        self.log_variances = nn.Parameter(torch.zeros(learner.tasks))
        counts = torch.tensor(list(self.counts.values()), dtype=torch.float32)
        self.shares = upload(counts.sum() / (len(counts) * counts), learner.device)

    def parameter_groups(self, learner: Learner, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The variances learn beside the model."""
        if self.weights != "uncertainty":
            return groups
        self.log_variances = nn.Parameter(self.log_variances.detach().to(learner.device))
        own = {"params": [self.log_variances], "lr": learner.learning_rates["head"], "weight_decay": 0.0}
        return [*groups, own]

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        """What turns the engine's mean over the batch into the weighted one."""
        if self.weights == "size":
            return None
        losses, tasks = learner.example_losses(logits, batch), batch["task_ids"]
        weighed = losses
        if self.weights == "uncertainty":
            weighed = torch.exp(-self.log_variances[tasks]) * losses + self.log_variances[tasks] / 2
        return (self.shares[tasks] * weighed - losses).mean()

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Note what the variances have become."""
        if self.weights == "uncertainty":
            found = zip(self.counts, self.log_variances.tolist(), strict=True)
            learner.note("multi_task", log_variances=dict(found))

    def state_dict(self) -> dict[str, Any]:
        """The variances; what they are of is counted again."""
        return {"log_variances": self.log_variances.detach().clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self.log_variances = nn.Parameter(state["log_variances"].clone())
