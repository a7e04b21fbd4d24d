"""GDumb: keep a balanced memory, and after each task train a fresh model on it alone.

Prabhu et al. 2020, "GDumb: A Simple Approach that Questions Our Progress in Continual Learning", algorithm 1: an
example enters the memory while its label has less than memory_size / labels places; in a full memory the label with
most gives up a random one. What has been learned before is thrown away: the model starts
from the pretrained weights each time.
"""

from typing import Any

from torch import Tensor

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import ExampleBuffer, RunConfig, Training, check_memory


class GDumb(Strategy):
    """Whatever beats it must have learned something that a memory of this size does not hold.

    The paper's training recipe (SGD with restarts, cutmix) is the run's own optimizer here, with more epochs.

    Args:
        memory_size: examples kept: a count, or below 1 a fraction of all training examples so far.
        epochs: passes over the memory after each task; not tuned.
    """

    alone = "gdumb trains a fresh model on its memory after each task, so there is nothing to protect"
    counts_steps = False
    keeps_examples = True

    def __init__(self, memory_size: float = 0.05, epochs: int = 30) -> None:
        check_memory("gdumb", memory_size, 1)
        if epochs < 1:
            raise InputError(f"gdumb: epochs = {epochs} is not allowed; allowed: at least 1")
        self.memory_size, self.epochs = memory_size, epochs

    def setup(self, learner: Learner) -> None:
        """Keep the weights that every training starts from; they are made again from the seed, not stored."""
        self.buffer = ExampleBuffer(self.memory_size, "greedy_balanced", learner.seed)
        self.start: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in learner.model.state_dict().items()
        }

    def train(self, learner: Learner, task: TaskData, config: RunConfig) -> int | None:
        """Offer the task's examples to the memory and train on what it holds; the examples learned from."""
        self.buffer.add(task.train)
        learner.model.load_state_dict(self.start)
        settings = config.model_copy(update={"epochs": self.epochs, "min_steps": 0})
        training = Training(settings, Strategy(), learner, task, self.buffer.examples)
        training.run_all_steps()
        return training.seen

    def state_dict(self) -> dict[str, Any]:
        """The memory with its count seen and random stream."""
        return self.buffer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory."""
        self.buffer.load_state_dict(state)
