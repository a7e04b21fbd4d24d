"""GEM that also learns from its memory, as the public code of Hsu et al. 2018 has it; for their figures alone.

There GEM's class is made from that of naive rehearsal and keeps its training step: what is projected is the gradient of
new and old images together. Both classes store a task when it ends, so that each stands in the memory twice.
"""

from __future__ import annotations

from typing import Any

import torch
from clbench.strategies.gem import GEM

from clbench import Batch, Learner, TaskData
from clbench.data import Example
from clbench.rng import generator
from clbench.toolkit import join
from clbench.toolkit.packing import pack, unpack


class RehearsingGEM(GEM):  # type: ignore[misc]
    """All but the memory and what a step learns from is the strategy ``gem``.

    Their epoch has the new images and as many old ones. Here remembered ones take the place of half of each batch, so
    that twice as many epochs see the new images as often; the first task, with nothing to remember, stops halfway.

    Args:
        memory_size: images kept, in equal random shares.
        margin: see ``gem``.
    """

    def __init__(self, memory_size: int = 1100, margin: float = 0.5) -> None:
        super().__init__(memory_size, memory_size, margin)

    def setup(self, learner: Learner) -> None:
        """An empty memory."""
        self.learner = learner
        self.generator = generator(learner.seed, "buffer")
        self.shares: list[list[Example]] = []

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Output rows of other tasks move with the others."""
        self.others = None

    def train_batch(self, batch: Batch) -> Batch:
        """Half of the batch, and as many remembered images as the other half had; each share makes a reference."""
        self.memory_batches = [self.learner.collate(share) for share in self.shares]
        if not self.shares:
            return batch
        count = len(batch["labels"])
        new = {key: value[: count - count // 2] for key, value in batch.items()}
        old = self._drawn([example for share in self.shares for example in share], count // 2)
        return join(new, self.learner.collate(old), self.learner.padding_id)

    def stop(self, learner: Learner, task: TaskData) -> bool:
        """Halfway through the first task."""
        return not self.shares and learner.step + 1 >= learner.steps // 2

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Cut the shares, and add one of the task; twice."""
        for _ in range(2):
            each = int(self.memory_size) // (len(self.shares) + 1)
            self.shares = [*(share[:each] for share in self.shares), self._drawn(task.train, each)]

    def state_dict(self) -> dict[str, Any]:
        """The memory with its random stream."""
        return {"shares": [pack(share) for share in self.shares], "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory."""
        self.shares = [unpack(share) for share in state["shares"]]
        self.generator.set_state(state["generator"])

    def _drawn(self, examples: list[Example], count: int) -> list[Example]:
        order = torch.randperm(len(examples), generator=self.generator)[:count]
        return [examples[i] for i in order.tolist()]
