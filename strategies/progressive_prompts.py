"""A learned soft prompt for every task, read together with all earlier tasks' frozen prompts.

Razdaibiedina et al. 2023, "Progressive prompts": for task k log p(y | [P_k; ...; P_1; E(x)]) is maximised over P_k
alone, E(x) the embedded text. Earlier prompts help and are not changed; each task is answered with the prompts up to
its own. Here the output layer's rows of the task's labels learn as well; the paper's residual perceptron, through
which a prompt passes while it learns, is left out.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import MOST_VECTORS, Range, embedded_words, generator, prepend_prompt, temporarily


class ProgressivePrompts(Strategy):
    """prompt_length · hidden size numbers a task; task k reads k · prompt_length vectors, the newest first.

    The prompts take no position from the text, see :func:`clbench.toolkit.prepend_prompt`; in an encoder their
    order then means nothing. A task still to come is answered with its prompt as it starts.

    Args:
        prompt_length: vectors of each task's prompt, 1 or more; 10 as in the paper.
        learning_rate: peak learning rate of the prompts; prompt_tuning's; on text_seq's dev texts 1 was worse.
    """

    kinds = ("text", "token", "generation")
    settings = ("task",)
    own_labels = True
    alone = "progressive_prompts never overwrites an old task's prompt, so there is nothing to protect"
    search_spaces = {"learning_rate": Range(0.03, 3.0, log=True)}

    def __init__(self, prompt_length: int = 10, learning_rate: float = 0.3) -> None:
        if not 1 <= prompt_length <= MOST_VECTORS or learning_rate <= 0:
            allowed = f"prompt_length 1 to {MOST_VECTORS}, learning_rate above 0"
            raise InputError(f"progressive_prompts: {prompt_length=}, {learning_rate=}; allowed: {allowed}")
        self.prompt_length, self.learning_rate = prompt_length, learning_rate

    def setup(self, learner: Learner) -> None:
        """Freeze the body and give the model every task's prompt."""
        learner.freeze_body()
        learner.learning_rates["body"] = self.learning_rate
        stream = generator(learner.seed, "prompts")
        self.prompts = nn.ParameterList(
            embedded_words(learner, self.prompt_length, stream) for _ in range(learner.tasks)
        )
        learner.model.add_module("prompts", self.prompts)
        self.task = learner.tasks - 1  # the model is tried with all of them
        none = self.prompts[0].detach()[:0]
        prepend_prompt(learner, lambda: torch.cat([none, *(self.prompts[task] for task in range(self.task, -1, -1))]))
        self.task = 0

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Let this task's prompt learn, and no other."""
        self.task = task.position
        learner.freeze_body()
        self.prompts[task.position].requires_grad_(True)

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """Answer with the prompts up to the task's own."""
        assert task_id is not None
        self.task = task_id
        return learner.logits(batch)

    def outside_tasks(self, learner: Learner) -> AbstractContextManager[None]:
        """The pretrained model, without a prompt."""
        return temporarily(self, task=-1)
