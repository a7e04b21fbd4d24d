"""Learned keys and values before the text in every layer, a set for every task, learned through a perceptron.

Li & Liang 2021, "Prefix-tuning": layer l attends to [K_tl; X W_K] and [V_tl; X W_V]. The prefix's row i over all layers
is P[i] = W_2 tanh(W_1 P'[i] + b_1) + b_2 (section 4.3), P' a smaller matrix; P', W and b learn and are dropped when the
task ends: P alone is kept. p_tuning_v2 computes the same model from a P that learns directly; here the shared W move
all layers and rows together. Only how learning moves differs, not what can be expressed once it is done.
"""

from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import MOST_VECTORS, Range, prefix_encoder, prefix_of, prepend_keys_and_values, temporarily


class PrefixTuning(Strategy):
    """prefix_length · layers · 2 · key width numbers are kept a task; PEFT's PrefixEncoder, made anew for each task.

    The text keeps its positions, see :func:`clbench.toolkit.prepend_keys_and_values`. A task still to come is
    answered without a prefix.

    Args:
        prefix_length: keys and values of a layer, 1 or more; 10, the paper's choice for its table-to-text tasks.
        hidden_size: units of the perceptron's hidden layer, 1 or more; the paper's 512.
        learning_rate: peak learning rate of the perceptron and of P'; the default is the best of 0.0003, 0.001 and
            0.003 on text_seq's dev texts.
    """

    kinds = ("text", "token", "generation")
    settings = ("task",)
    own_labels = True
    alone = "prefix_tuning never overwrites an old task's prefix, so there is nothing to protect"
    search_spaces = {"learning_rate": Range(1e-4, 1e-2, log=True)}

    def __init__(self, prefix_length: int = 10, hidden_size: int = 512, learning_rate: float = 1e-3) -> None:
        sizes_fit = 1 <= prefix_length <= MOST_VECTORS and 1 <= hidden_size <= MOST_VECTORS
        if not sizes_fit or learning_rate <= 0:
            given = f"{prefix_length=}, {hidden_size=}, {learning_rate=}"
            allowed = f"prefix_length and hidden_size 1 to {MOST_VECTORS}, learning_rate above 0"
            raise InputError(f"prefix_tuning: {given}; allowed: {allowed}")
        self.prefix_length, self.hidden_size, self.learning_rate = prefix_length, hidden_size, learning_rate

    def setup(self, learner: Learner) -> None:
        """Freeze the body and give the model the perceptron."""
        learner.freeze_body()
        learner.learning_rates["body"] = self.learning_rate
        self.device = learner.device
        self.learned: dict[str, Tensor] = {}
        self.encoder = prefix_encoder(learner, self.prefix_length, self.hidden_size, "prefix", 0)
        self.prefix: Tensor | None = None
        self.learning = True
        learner.model.add_module("prefix", self.encoder.requires_grad_(False))
        prepend_keys_and_values(learner, lambda: prefix_of(self.encoder) if self.learning else self.prefix)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Start the task's prefix."""
        self.learning = True
        start = prefix_encoder(learner, self.prefix_length, self.hidden_size, "prefix", task.position)
        self.encoder.load_state_dict(start.state_dict())
        learner.freeze_body()
        self.encoder.requires_grad_(True)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Keep the task's prefix."""
        self.learned[str(task.position)] = prefix_of(self.encoder).detach().clone()

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """Answer with the task's own prefix."""
        self.learning, self.prefix = False, self.learned.get(str(task_id))
        return learner.logits(batch)

    def outside_tasks(self, learner: Learner) -> AbstractContextManager[None]:
        """The pretrained model, without a prefix."""
        return temporarily(self, learning=False, prefix=None)

    def state_dict(self) -> dict[str, Any]:
        """Every learned task's prefix."""
        return {"learned": self.learned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the learned tasks' prefixes."""
        self.learned = {task: prefix.to(self.device) for task, prefix in state["learned"].items()}
