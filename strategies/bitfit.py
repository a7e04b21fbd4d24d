"""BitFit: of the body only the biases learn, a thousandth of its weights.

Ben Zaken, Goldberg & Ravfogel 2022, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
Language-models": all biases and the output layer learn, everything else stays pretrained. With few training texts it
is on a par with learning all weights.
"""

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range


class BitFit(Strategy):
    """Of models without biases, as Llama's, there is nothing to learn: refused.

    Args:
        learning_rate: peak learning rate of the biases, above 0. The paper tries 1e-4 to 1e-3 and finds that biases
            want a larger one than whole models; not tuned here.
    """

    is_recipe = True
    kinds = ("text", "image", "token")
    decides = ("which weights learn",)
    hook_phases = {"before_task": "open"}
    search_spaces = {"learning_rate": Range(1e-4, 1e-2, log=True)}

    def __init__(self, learning_rate: float = 1e-3) -> None:
        if learning_rate <= 0:
            raise InputError(f"bitfit: {learning_rate=}; allowed: above 0")
        self.learning_rate = learning_rate

    def setup(self, learner: Learner) -> None:
        """Freeze the rest, and give the biases their rate."""
        learner.learning_rates["body"] = self.learning_rate
        names = [name for name, _ in learner.model.named_parameters()]
        if not any(_is_bias(name) and not learner.is_head(name) for name in names):
            raise InputError(f"bitfit: {type(learner.model).__name__} has no biases; allowed: models with some")
        self._open(learner)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """The biases and the head, whatever else says which weights learn."""
        self._open(learner)

    def _open(self, learner: Learner) -> None:
        for name, parameter in learner.model.named_parameters():
            parameter.requires_grad_(_is_bias(name) or learner.is_head(name))


def _is_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"
