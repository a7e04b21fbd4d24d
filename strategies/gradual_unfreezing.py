"""Gradual unfreezing: a task begins with the head alone, and the layers thaw one by one from the last to the first.

Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification", section 3.3: unfreezing all layers
at once risks that what was pretrained is lost while the new head still errs at random. They thaw a layer an epoch; here
the layers thaw evenly over a share of each task's steps, so that a task of few epochs comes to its first layer, too.
"""

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range, check_layers, layer_depths


class GradualUnfreezing(Strategy):
    """A layer that is still frozen gets no gradient: it does not move, decay or gather moments. Nothing gets faster.

    Args:
        until: the share of a task's steps after which everything learns, above 0 and up to 1; not tuned. Of N layers,
            embeddings as one more, the k-th from the top learns from step (k / (N + 1)) · until · steps on.
    """

    is_recipe = True
    hook_phases = {"read_gradients": "drop", "before_step": "fix"}
    search_spaces = {"until": Range(0.1, 0.9)}

    def __init__(self, until: float = 0.5) -> None:
        if not 0 < until <= 1:
            raise InputError(f"gradual_unfreezing: {until=}; allowed: above 0 and up to 1")
        self.until = until

    def setup(self, learner: Learner) -> None:
        """Look whether the model has layers."""
        check_layers("gradual_unfreezing", learner)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """What a stack adds to the model for a task has a depth, too."""
        self.depth: dict[str, int] = {}

    def read_gradients(self, learner: Learner) -> None:
        """Others read, and sam moves by, those of what learns."""
        self._drop(learner)

    def before_step(self, learner: Learner) -> None:
        """What others have added to them goes, too."""
        self._drop(learner)

    def _drop(self, learner: Learner) -> None:
        """Take the gradients of what is frozen away."""
        thawing = self.until * learner.steps
        if learner.step >= thawing:
            return
        if not self.depth:  # found once a task: it is a walk through the whole model
            self.layers, self.depth = check_layers("gradual_unfreezing", learner), layer_depths(learner)
        # The head is not counted: it learns from the start. Where there is none, as in a model that writes, the last
        # layer is in its place.
        top = max(self.depth[name] for name, _ in learner.named_parameters())
        first = int(top <= self.layers)
        thawed = first + int(learner.step / thawing * (self.layers + 1 - first))
        for name, parameter in learner.named_parameters():
            if self.depth[name] + thawed <= self.layers:
                parameter.grad = None
