"""Gradient episodic memory: a step may not raise the loss on any past task's remembered examples.

Lopez-Paz & Ranzato 2017, "Gradient Episodic Memory for Continual Learning": with g the gradient of the new batch and
the rows of G those of each past task's memory, the step takes the z nearest to g with G z ≥ 0 (equation 8). In the dual
(equation 11) z = Gᵀ v + g, where v ≥ 0 minimises ½ vᵀ G Gᵀ v + (G g)ᵀ v. That is ½ ‖Gᵀ v + g‖² but for a constant: a
non-negative least squares problem, which scipy's active-set solver solves exactly. It is given a square root of the
Gram matrix of (G, g), so that its size is the number of past tasks and not that of the model.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import ExampleBuffer, Range, check_memory, hold_rows, memory_gradient, other_rows


class GEM(Strategy):
    """A step costs a pass over each past task's memory, and holds a gradient a past task; A-GEM is the cheap form.

    What the projection promises holds for a plain gradient step; AdamW scales each weight's share afterwards.

    Args:
        memory_size: examples kept: a count shared among the tasks' labels, or below 1 a fraction of each task's
            training examples; as in the paper the last of each.
        replay_batch_size: remembered examples of each past task that its gradient is taken on; the paper takes all.
        margin: γ, the least that any v may be, 0 or more: above 0 it favours backward transfer and z is no longer the
            nearest. As in the authors' code; their text adds γ to v*, after which G z ≥ 0 need not hold.

    The defaults are not tuned; the paper's experiments have a margin of 0.5.
    """

    decides = ("onto what gradients are projected",)
    hook_phases = {"before_step": "project"}
    keeps_examples = True
    idle_in_first_task = ("train_batch", "before_step")
    search_spaces = {"margin": Range(0.0, 1.0)}

    def __init__(self, memory_size: float = 0.05, replay_batch_size: int = 32, margin: float = 0.0) -> None:
        check_memory("gem", memory_size, replay_batch_size)
        if margin < 0:
            raise InputError(f"gem: margin = {margin} is not allowed; allowed: 0 or more")
        self.memory_size, self.replay_batch_size, self.margin = memory_size, replay_batch_size, margin

    def setup(self, learner: Learner) -> None:
        """An empty memory."""
        self.learner = learner
        self.buffer = ExampleBuffer(self.memory_size, "ring", learner.seed)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Which output rows are of other tasks: where the task id is given no step moves them."""
        self.others = other_rows(learner, task)

    def train_batch(self, batch: Batch) -> Batch:
        """Draw the step's memory batches, here so that a step that is tried again draws no others."""
        past = sorted({example["task_id"] for example in self.buffer.examples})
        drawn = [self.buffer.sample(self.replay_batch_size, task_id) for task_id in past]
        self.memory_batches = [self.learner.collate(examples) for examples in drawn]
        return batch

    def before_step(self, learner: Learner) -> None:
        """Project the gradient where it opposes a past task's."""
        if not self.memory_batches:
            return
        learning = [p for _, p in learner.named_parameters() if p.grad is not None]
        gradients = [p.grad for p in learning if p.grad is not None]
        past = [memory_gradient(learner, batch, learning) for batch in self.memory_batches]
        for reference in past:
            hold_rows(learner, self.others, learning, reference)
        gram = gram_matrix([*past, gradients])
        # Without a violated constraint g itself is the nearest. A loss that is no number is the engine's to report.
        if np.isfinite(gram).all() and (gram[-1, :-1] < 0).any():
            for reference, weight in zip(past, dual_solution(gram, self.margin), strict=True):
                torch._foreach_add_(gradients, reference, alpha=float(weight))

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Offer the task's examples to the memory."""
        self.buffer.add(task.train)

    def state_dict(self) -> dict[str, Any]:
        """The memory with its random stream."""
        return self.buffer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory."""
        self.buffer.load_state_dict(state)


def gram_matrix(rows: list[list[Tensor]]) -> NDArray[np.float64]:
    """The inner products (rows, rows) of gradients, each a list of tensors, one a parameter."""
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows[0][0].device)
    for tensors in zip(*rows, strict=True):
        stacked = torch.stack([tensor.flatten().float() for tensor in tensors])
        total += stacked @ stacked.T
    products: NDArray[np.float64] = total.cpu().numpy()
    return products


def dual_solution(gram: NDArray[np.float64], margin: float = 0.0) -> NDArray[np.float64]:
    """The v ≥ ``margin`` that minimises ‖Gᵀ v + g‖, from the Gram matrix of the rows of G and, last, g."""
    values, vectors = np.linalg.eigh(gram)
    # A root R, Rᵀ R = gram: its columns have the lengths and angles of the gradients. Rounding can make a 0 negative.
    root = np.sqrt(values.clip(0))[:, None] * vectors.T
    # With v = margin + u, u ≥ 0, the part that is given joins g.
    target = root[:, -1] + margin * root[:, :-1].sum(1) if margin else root[:, -1]
    solution: NDArray[np.float64] = nnls(root[:, :-1], -target)[0] + margin
    return solution
