"""Only the encoder learns: the output layer stays as it was made, so that forgetting is the features' alone.

Hoffer et al. 2018, "Fix your classifier: the marginal value of training the last weight layer": a fixed random output
layer costs a network little, for the features turn towards its rows. No row of an old label can move then. The paper's
layer is orthonormal with a learned scale; this one is as the model makes it, times a fixed scale.
"""

import torch

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range


class EncoderOnly(Strategy):
    """In all settings the rows of labels that are still to come are there from the start.

    Args:
        scale: the output layer's rows are multiplied by it before the first task, above 0: a fresh layer's rows are
            short, and nothing learns to make them longer; 1 for one that is kept with --keep-head. Not tuned.
    """

    is_recipe = True
    kinds = ("text", "image", "token")
    decides = ("which weights learn",)
    hook_phases = {"before_task": "close"}
    search_spaces = {"scale": Range(1.0, 30.0, log=True)}

    def __init__(self, scale: float = 10.0) -> None:
        if scale <= 0:
            raise InputError(f"encoder_only: {scale=}; allowed: above 0")
        self.scale = scale

    def setup(self, learner: Learner) -> None:
        """Lengthen the rows, once: a resumed run makes them from the seed again."""
        self.layer = learner.output_layer()
        with torch.no_grad():
            self.layer.weight.mul_(self.scale)
        self._close()

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Whatever else says which weights learn."""
        self._close()

    def _close(self) -> None:
        for parameter in self.layer.parameters():
            parameter.requires_grad_(False)
