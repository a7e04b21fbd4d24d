"""ER with asymmetric cross-entropy: new examples compete only with their own batch's labels, replayed ones with all.

Caccia et al. 2022, "New Insights on Reducing Abrupt Representation Change in Online Continual Learning" (ER-ACE):
L = mean over the new batch of L_ce(x, C_curr) + mean over the remembered examples of L_ce(x, C_old ∪ C_curr), where
L_ce(x, C) is the cross-entropy of a softmax over the labels in C alone. New examples so cannot push down the logits of
old labels, which is what moves old features abruptly. Every batch is offered to the memory, a reservoir: the current
task's examples in it are what sets the new labels against the old ones.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from clbench import Batch, Learner, Strategy, TaskData
from clbench.toolkit import Choices, ExampleBuffer, check_memory, hold_other_rows, join, other_rows, remember


class ERACE(Strategy):
    """Made for the class setting; where the task's labels alone are candidates anyway it is close to replay.

    Args:
        memory_size: examples kept: a count, or below 1 a fraction of each task's training examples, a reservoir a task.
        replay_batch_size: remembered examples a step; weighed together as much as the whole new batch.
        classes: C_curr: the labels in the new "batch" (the paper's) or all of the new "task".

    The defaults are replay's; not tuned.
    """

    decides = ("what each row's loss is",)
    hook_phases = {"train_batch": "weigh", "before_step": "fix"}
    kinds = ("text", "image")
    keeps_examples = True
    search_spaces = {"classes": Choices(("batch", "task"))}

    def __init__(
        self, memory_size: float = 0.05, replay_batch_size: int = 16, classes: Literal["batch", "task"] = "batch"
    ) -> None:
        check_memory("er_ace", memory_size, replay_batch_size)
        self.memory_size, self.replay_batch_size, self.classes = memory_size, replay_batch_size, classes

    def setup(self, learner: Learner) -> None:
        """An empty memory."""
        self.learner = learner
        self.buffer = ExampleBuffer(self.memory_size, "reservoir", learner.seed)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """How many places the task's examples share, and its labels; a batch's own replace them in ``train_batch``."""
        self.places = self.buffer.places(len(task.train))
        self.others = other_rows(learner, task)
        self._set_present(torch.tensor(task.columns, device=learner.device))

    def train_batch(self, batch: Batch) -> Batch:
        """Add remembered examples, once there are any; note C_curr and what an example weighs beside the mean's 1."""
        self.new = self.learner.new_examples
        if self.classes == "batch":
            self._set_present(batch["labels"][: len(self.new)])
        taken = self.buffer.sample(self.replay_batch_size)
        if not taken:
            return {"remembered": torch.zeros_like(batch["labels"], dtype=torch.bool), **batch}
        batch, remembered = dict(batch), self.learner.collate(taken)
        count = len(batch["labels"]) + len(taken)
        # Each part's mean counts once: n / n_part in a mean over all n.
        for part in (batch, remembered):
            labels = part["labels"]
            part["er_ace_excess"] = torch.full_like(labels, count / len(labels) - 1, dtype=torch.float32)
        return join(batch, remembered, self.learner.padding_id)

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        """What turns the engine's mean of cross-entropies among all candidates into L."""
        others = ~batch["remembered"][:, None] & ~self.present
        masked = learner.mask(logits, batch["task_ids"]).masked_fill(others, float("-inf"))
        losses = nn.functional.cross_entropy(masked, batch["labels"], reduction="none")
        weights = 1 + batch["er_ace_excess"] if "er_ace_excess" in batch else 1.0
        # The same operations as the engine's, so that what is taken away cancels to the last bit.
        return (weights * losses - learner.example_losses(logits, batch)).mean()

    def before_step(self, learner: Learner) -> None:
        """Leave the output rows of other tasks as they are where the task id is given."""
        hold_other_rows(learner, self.others)

    def after_step(self, learner: Learner) -> None:
        """Offer the step's new examples to the memory."""
        remember(self.buffer, self.places, self.new)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """With a fraction as size each task keeps its own places."""
        if self.memory_size < 1:
            self.buffer.close()

    def state_dict(self) -> dict[str, Any]:
        """The memory with its counts and random stream."""
        return self.buffer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory."""
        self.buffer.load_state_dict(state)

    def _set_present(self, columns: Tensor) -> None:
        self.present = torch.zeros(len(self.learner.labels.names), dtype=torch.bool, device=columns.device)
        self.present[columns] = True
