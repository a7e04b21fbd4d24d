"""A learned soft prompt for every task in front of the text, on the frozen pretrained model.

Lester et al. 2021, "The power of scale for parameter-efficient prompt tuning": the model reads [P_t; E(x)], E(x) the
embedded text and P_t of prompt_length vectors the task's own; log p(y | [P_t; E(x)]) is maximised over P_t. Here the
output layer's rows of the task's labels learn as well. The task's id chooses the prompt, so nothing is overwritten.
"""

from contextlib import AbstractContextManager

from torch import Tensor, nn

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import MOST_VECTORS, Range, embedded_words, generator, prepend_prompt, temporarily


class PromptTuning(Strategy):
    """prompt_length · hidden size numbers a task; prompts start as embedded words drawn from the vocabulary.

    The prompt takes no position from the text, see :func:`clbench.toolkit.prepend_prompt`. A task still to come
    is answered with its prompt as it starts.

    Args:
        prompt_length: vectors of a prompt, 1 or more; 20, above which the paper saw small gains.
        learning_rate: peak learning rate of the prompts; the default is the best of 0.1, 0.3 and 1 on text_seq's dev
            texts.
    """

    kinds = ("text", "token", "generation")
    settings = ("task",)
    own_labels = True
    alone = "prompt_tuning never overwrites an old task's prompt, so there is nothing to protect"
    search_spaces = {"learning_rate": Range(0.03, 3.0, log=True)}

    def __init__(self, prompt_length: int = 20, learning_rate: float = 0.3) -> None:
        if not 1 <= prompt_length <= MOST_VECTORS or learning_rate <= 0:
            allowed = f"prompt_length 1 to {MOST_VECTORS}, learning_rate above 0"
            raise InputError(f"prompt_tuning: {prompt_length=}, {learning_rate=}; allowed: {allowed}")
        self.prompt_length, self.learning_rate = prompt_length, learning_rate

    def setup(self, learner: Learner) -> None:
        """Freeze the body and give the model every task's prompt."""
        learner.freeze_body()
        learner.learning_rates["body"] = self.learning_rate
        stream = generator(learner.seed, "prompts")
        self.prompts = nn.ParameterList(
            embedded_words(learner, self.prompt_length, stream) for _ in range(learner.tasks)
        )
        self.task: int | None = 0
        learner.model.add_module("prompts", self.prompts)
        prepend_prompt(learner, lambda: self.prompts[0][:0] if self.task is None else self.prompts[self.task])

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Let this task's prompt learn, and no other."""
        self.task = task.position
        learner.freeze_body()
        self.prompts[task.position].requires_grad_(True)

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """Answer with the task's own prompt."""
        assert task_id is not None
        self.task = task_id
        return learner.logits(batch)

    def outside_tasks(self, learner: Learner) -> AbstractContextManager[None]:
        """The pretrained model, without a prompt."""
        return temporarily(self, task=None)
