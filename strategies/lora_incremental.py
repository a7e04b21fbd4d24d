"""A growing stack of LoRA modules: each task adds one, the earlier ones stay active and frozen.

With the modules of Hu et al. 2021, "LoRA", a layer after task t computes W x + Σ_{i≤t} (alpha / rank) · B_i A_i x; only
A_t, B_t and the output layer learn in task t, from the model that the earlier tasks left. All modules answer together.
"""

from clbench import Learner, Strategy, TaskData
from clbench.toolkit import (
    Choices,
    Range,
    add_task_modules,
    check_arguments,
    learn_on_top,
    lora_settings,
    target_layers,
)


class LoraIncremental(Strategy):
    """A frozen module cannot unlearn, but new ones change what it reads and adds to: nothing keeps it from forgetting.

    In the task and the class setting an example is scored among its own task's labels, so that old rows of the output
    layer stay as they were; in the domain setting all tasks share the rows and go on learning them.

    Args:
        rank: of each module, 1 or more; not tuned.
        alpha: a module's output is scaled by alpha / rank, above 0; not tuned.
        target_modules: names of the layers that get one, as PEFT matches them; empty for all in the body.
        learning_rate: peak learning rate of the modules, above 0; the default is the best of 0.0003, 0.001 and 0.003 on
            text_seq's dev texts.
    """

    carries_optimizer = False  # carried moments would move the output rows that it holds
    kinds = ("text", "token", "generation", "image")

    decides = ("which weights learn",)
    hook_phases = {"before_task": "open"}
    search_spaces = {"learning_rate": Range(1e-4, 1e-2, log=True), "rank": Choices((4, 8, 16))}

    def __init__(
        self, rank: int = 8, alpha: float = 16.0, target_modules: tuple[str, ...] = (), learning_rate: float = 1e-3
    ) -> None:
        check_arguments("lora_incremental", rank=rank, alpha=alpha, learning_rate=learning_rate)
        self.rank, self.alpha, self.target_modules, self.learning_rate = rank, alpha, target_modules, learning_rate

    def setup(self, learner: Learner) -> None:
        """Wrap the model and make every task's module."""
        targets = target_layers("lora_incremental", learner, self.target_modules, self.rank)
        self.model, self.names = add_task_modules(
            learner, lambda: lora_settings(targets, self.rank, self.alpha), self.learning_rate
        )

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Put this task's module on the stack and let it learn alone."""
        learn_on_top(learner, self.model, self.names[: task.position + 1])
