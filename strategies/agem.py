"""Averaged gradient episodic memory: a step may not raise the loss on a batch drawn from the memory.

Chaudhry et al. 2019, "Efficient Lifelong Learning with A-GEM": with g the gradient of the new batch and g_ref that of a
batch from the memory of all past tasks, the step takes g where gᵀ g_ref ≥ 0 and else its projection (equation 11)
g − (gᵀ g_ref / g_refᵀ g_ref) g_ref, the nearest gradient that does not oppose g_ref.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from clbench import Batch, Learner, Strategy, TaskData
from clbench.toolkit import Choices, ExampleBuffer, Sampling, check_memory, hold_rows, memory_gradient, other_rows


class AGEM(Strategy):
    """The remembered examples are never learned from, only looked at: it holds back less than replay.

    What the projection promises holds for a plain gradient step; AdamW scales each weight's share afterwards.

    Args:
        memory_size: examples kept: a count, or below 1 a fraction of the old tasks' training examples.
        replay_batch_size: remembered examples that g_ref is taken on, a forward and backward pass more a step.
        sampling: how the memory is filled when a task ends; see replay.

    The defaults are not tuned.
    """

    decides = ("onto what gradients are projected",)
    hook_phases = {"before_step": "project"}
    keeps_examples = True
    idle_in_first_task = ("train_batch", "before_step")
    search_spaces = {"sampling": Choices(("reservoir", "ring", "class_balanced"))}

    def __init__(
        self,
        memory_size: float = 0.05,
        replay_batch_size: int = 32,
        sampling: Literal["reservoir", "ring", "class_balanced"] = "reservoir",
    ) -> None:
        check_memory("agem", memory_size, replay_batch_size)
        self.memory_size, self.replay_batch_size = memory_size, replay_batch_size
        self.sampling: Sampling = sampling

    def setup(self, learner: Learner) -> None:
        """An empty memory."""
        self.learner = learner
        self.buffer = ExampleBuffer(self.memory_size, self.sampling, learner.seed)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Which output rows are of other tasks: where the task id is given no step moves them."""
        self.others = other_rows(learner, task)

    def train_batch(self, batch: Batch) -> Batch:
        """Draw the step's memory batch, here so that a step that is tried again draws no other."""
        if len(self.buffer):
            self.memory_batch = self.learner.collate(self.buffer.sample(self.replay_batch_size))
        return batch

    def before_step(self, learner: Learner) -> None:
        """Project the gradient where it opposes the memory's."""
        if not len(self.buffer):
            return
        learning = [p for _, p in learner.named_parameters() if p.grad is not None]
        gradients = [p.grad for p in learning if p.grad is not None]
        reference = memory_gradient(learner, self.memory_batch, learning)
        hold_rows(learner, self.others, learning, reference)
        project(gradients, reference)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Offer the task's examples to the memory."""
        self.buffer.add(task.train)

    def state_dict(self) -> dict[str, Any]:
        """The memory with its count seen and random stream."""
        return self.buffer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory."""
        self.buffer.load_state_dict(state)


def project(gradients: list[Tensor], reference: list[Tensor]) -> None:
    """Take from ``gradients``, in place, what opposes ``reference``; both are lists of tensors of equal shapes."""
    product = torch.stack([(g * r).sum(dtype=torch.float64) for g, r in zip(gradients, reference, strict=True)]).sum()
    square = torch.stack([r.square().sum(dtype=torch.float64) for r in reference]).sum()
    # Decided on the device: no step waits for it. Where the product is below 0 the square is above.
    share = torch.where(product < 0, product / square, 0.0)
    torch._foreach_sub_(gradients, torch._foreach_mul(reference, share.to(reference[0].dtype)))
