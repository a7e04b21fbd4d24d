"""Freezing: the embeddings and the first layers stay as they were pretrained, the rest of the model learns.

Lee et al. 2019, "What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning": the lower layers of a pretrained
encoder hold what every task needs, and most of the quality is there with a fourth of the layers learning. What is
frozen cannot be forgotten. Layers are found by the model's own structure, whatever it calls them.
"""

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range, check_layers, layer_depths


class Freeze(Strategy):
    """In every task; where another strategy says which weights learn, as those with modules do, it is refused.

    Args:
        layers: how many of the body's first layers are frozen, with all that comes before them; 0 for the embeddings
            alone, -1 for the whole body, so that only the head learns. Not tuned.
    """

    is_recipe = True
    decides = ("which weights learn",)
    hook_phases = {"before_task": "close"}
    search_spaces = {"layers": Range(0, 3)}

    def __init__(self, layers: int = 1) -> None:
        if layers < -1:
            raise InputError(f"freeze: {layers=}; allowed: -1 (the whole body), 0 (embeddings) or more")
        self.layers = layers

    def setup(self, learner: Learner) -> None:
        """Look whether the model has so many layers."""
        count = check_layers("freeze", learner)
        if self.layers > count:
            raise InputError(f"freeze: layers={self.layers}; allowed: up to {count}, as many as the body has")
        self.deepest = count if self.layers == -1 else self.layers

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Take those weights back from whatever opened them."""
        depth = layer_depths(learner)
        for name, parameter in learner.model.named_parameters():
            if depth[name] <= self.deepest:
                parameter.requires_grad_(False)
        if not any(True for _ in learner.named_parameters()):
            raise InputError(
                f"freeze: layers={self.layers} leaves nothing that learns: this model has no output layer of its own; "
                f"allowed: below {self.deepest}"
            )
