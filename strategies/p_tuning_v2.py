"""Learned keys and values before the text in every layer, a set for every task; each number learns by itself.

Liu et al. 2022, "P-tuning v2: prompt tuning can be comparable to fine-tuning universally across scales and tasks":
layer l attends to [K_tl; X W_K] and [V_tl; X W_V], the prompt_length rows of K_tl and V_tl being the task's own, and a
linear output layer classifies. prefix_tuning computes the same model; it learns K and V through a perceptron that all
layers share, which this method leaves out, so that here each number's gradient moves that number alone.
"""

from contextlib import AbstractContextManager

from peft import PrefixEncoder
from torch import Tensor, nn

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import MOST_VECTORS, Range, prefix_encoder, prefix_of, prepend_keys_and_values, temporarily


class PTuningV2(Strategy):
    """prompt_length · layers · 2 · key width numbers a task, from N(0, 1) at the start; PEFT's PrefixEncoder.

    The text keeps its positions, see :func:`clbench.toolkit.prepend_keys_and_values`. A task still to come is
    answered with its prompt as it starts.

    Args:
        prompt_length: keys and values of a layer, 1 or more; 20: the paper found under 20 enough for simple tasks.
        learning_rate: peak learning rate of the keys and values; the default is the best of 0.03, 0.1 and 0.3 on
            text_seq's dev texts.
    """

    kinds = ("text", "token", "generation")
    settings = ("task",)
    own_labels = True
    alone = "p_tuning_v2 never overwrites an old task's prompt, so there is nothing to protect"
    search_spaces = {"learning_rate": Range(0.01, 1.0, log=True)}

    def __init__(self, prompt_length: int = 20, learning_rate: float = 0.1) -> None:
        if not 1 <= prompt_length <= MOST_VECTORS or learning_rate <= 0:
            allowed = f"prompt_length 1 to {MOST_VECTORS}, learning_rate above 0"
            raise InputError(f"p_tuning_v2: {prompt_length=}, {learning_rate=}; allowed: {allowed}")
        self.prompt_length, self.learning_rate = prompt_length, learning_rate

    def setup(self, learner: Learner) -> None:
        """Freeze the body and give the model every task's keys and values."""
        learner.freeze_body()
        learner.learning_rates["body"] = self.learning_rate
        self.prompts: list[PrefixEncoder] = [
            prefix_encoder(learner, self.prompt_length, None, "prompts", task) for task in range(learner.tasks)
        ]
        self.task: int | None = 0
        learner.model.add_module("prompts", nn.ModuleList(self.prompts).requires_grad_(False))
        prepend_keys_and_values(learner, lambda: None if self.task is None else prefix_of(self.prompts[self.task]))

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Let this task's keys and values learn, and no other."""
        self.task = task.position
        learner.freeze_body()
        self.prompts[task.position].requires_grad_(True)

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """Answer with the task's own keys and values."""
        assert task_id is not None
        self.task = task_id
        return learner.logits(batch)

    def outside_tasks(self, learner: Learner) -> AbstractContextManager[None]:
        """The pretrained model, without keys and values of a task."""
        return temporarily(self, task=None)
