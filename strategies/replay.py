"""Experience replay: each step also learns from a memory of past tasks' examples.

Chaudhry et al. 2019, "On Tiny Episodic Memories in Continual Learning" (ER); the memory is filled when a task ends.
"""

from typing import Any, Literal

from clbench.buffer import ExampleBuffer
from clbench.data import Batch, TaskData, concatenate
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.strategy import Strategy


class Replay(Strategy):
    """The loss is the mean over the new batch and ``replay_batch_size`` remembered examples together.

    Args:
        memory_size: examples kept: a count, or below 1 a fraction of the old tasks' training examples.
        replay_batch_size: remembered examples added to each batch; 16 costs half a batch more.
        sampling: "reservoir" keeps each of N seen examples with probability M/N; "class_balanced" shares the
            places equally among the labels.
    """

    def __init__(
        self,
        memory_size: float = 0.05,
        replay_batch_size: int = 16,
        sampling: Literal["reservoir", "class_balanced"] = "reservoir",
    ) -> None:
        if memory_size <= 0 or (memory_size >= 1 and memory_size != int(memory_size)):
            raise InputError(
                f"replay: memory_size = {memory_size} is not allowed; allowed: a count, or a fraction below 1"
            )
        if replay_batch_size < 1:
            raise InputError(f"replay: replay_batch_size = {replay_batch_size} is not allowed; allowed: at least 1")
        self.memory_size = memory_size
        self.replay_batch_size = replay_batch_size
        self.sampling = sampling

    def setup(self, learner: Learner) -> None:
        """An empty memory."""
        self.learner = learner
        self.buffer = ExampleBuffer(self.memory_size, self.sampling == "class_balanced", learner.seed)

    def train_batch(self, batch: Batch) -> Batch:
        """Add remembered examples, once there are any."""
        if not len(self.buffer):
            return batch
        remembered = self.learner.collate(self.buffer.sample(self.replay_batch_size))
        return concatenate(batch, remembered, self.learner.padding_id)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Offer the task's examples to the memory."""
        self.buffer.add(task.train)

    def state_dict(self) -> dict[str, Any]:
        """The memory with its count seen and random stream."""
        return self.buffer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory."""
        self.buffer.load_state_dict(state)
