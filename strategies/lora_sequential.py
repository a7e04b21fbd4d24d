"""One LoRA module on the frozen pretrained model, trained on task after task.

Hu et al. 2021, "LoRA": a layer's output gains (alpha / rank) · B A x and only A, B and the output layer learn. Nothing
protects an old task: this is the baseline of the other LoRA strategies as naive is of all. A low rank alone does not
make it forget less in theory; Biderman et al. 2024, "LoRA Learns Less and Forgets Less", found that it often does.
"""

from clbench import Learner, Strategy, TaskData
from clbench.toolkit import Choices, Range, add_modules, check_arguments, learn_only, lora_settings, target_layers

MODULE = "shared"


class LoraSequential(Strategy):
    """The output layer learns as in naive: in the class setting the rows of all labels seen so far.

    Stacked with replay or a penalty, that acts on the module and the output layer only.

    Args:
        rank: of the module, 1 or more; not tuned.
        alpha: the module's output is scaled by alpha / rank, above 0; not tuned.
        target_modules: names of the linear layers that get one, as PEFT matches them; empty for all in the body.
        learning_rate: peak learning rate of the module, above 0; the default is the best of 0.0003, 0.001 and 0.003 on
            text_seq's dev texts.
    """

    kinds = ("text", "token", "generation", "image")

    decides = ("which weights learn",)
    hook_phases = {"before_task": "open"}
    search_spaces = {"learning_rate": Range(1e-4, 1e-2, log=True), "rank": Choices((4, 8, 16))}

    def __init__(
        self, rank: int = 8, alpha: float = 16.0, target_modules: tuple[str, ...] = (), learning_rate: float = 1e-3
    ) -> None:
        check_arguments("lora_sequential", rank=rank, alpha=alpha, learning_rate=learning_rate)
        self.rank, self.alpha, self.target_modules, self.learning_rate = rank, alpha, target_modules, learning_rate

    def setup(self, learner: Learner) -> None:
        """Wrap the model; its module is there from the first step on."""
        targets = target_layers("lora_sequential", learner, self.target_modules, self.rank)
        add_modules(learner, [MODULE], lambda: lora_settings(targets, self.rank, self.alpha))
        learner.learning_rates["body"] = self.learning_rate
        learn_only(learner, MODULE)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """The pretrained weights stay frozen."""
        learn_only(learner, MODULE)
