"""By size: how much of the model a task may move goes by how many training examples it has.

A rule of practice, of no paper: with fewer than ``small`` examples only the head learns; up to ``large`` all layers do,
the lower the slower (see discriminative_rates); above, all alike under strong regularisation, which is here ten times
the run's weight decay and label smoothing. It is a strategy so that the rule stands in the table beside others.
"""

from typing import Any

from clbench.strategies.discriminative_rates import DiscriminativeRates
from clbench.strategies.label_smoothing import LabelSmoothing
from torch import Tensor

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range

STRONGER = 10.0


class BySize(Strategy):
    """The log says which rule each task fell under.

    Args:
        small: tasks of fewer examples train the head alone, 0 or more.
        large: tasks of more examples train everything alike, ``small`` or more. Both are the rule's; not tuned.
        decay: of the rates between them; discriminative_rates' default.
        smoothing: of large tasks' labels; label_smoothing's default.
    """

    is_recipe = True
    kinds = ("text", "image", "token")
    decides = ("which weights learn", "what each row's loss is", "the rates of layers")
    hook_phases = {"before_task": "close"}
    search_spaces = {"small": Range(0, 5000)}

    def __init__(self, small: int = 1000, large: int = 10_000, decay: float = 0.95, smoothing: float = 0.1) -> None:
        if not 0 <= small <= large:
            raise InputError(f"by_size: {small=}, {large=}; allowed: 0 or more, and large no less than small")
        self.small, self.large = small, large
        self.rates, self.smoothing = DiscriminativeRates(decay), LabelSmoothing(smoothing)

    def setup(self, learner: Learner) -> None:
        """All weights may learn before the first task."""
        self.rates.setup(learner)
        self.closed: list[Any] = []
        self.rule = ""

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Open what an earlier task had closed, and close the body for a small one."""
        count = len(task.train)
        self.rule = "head only" if count < self.small else "slower below" if count <= self.large else "regularised"
        learner.note("by_size", task=task.name, examples=count, rule=self.rule)
        for parameter in self.closed:
            parameter.requires_grad_(True)
        named = list(learner.named_parameters()) if self.rule == "head only" else []
        self.closed = [parameter for name, parameter in named if not learner.is_head(name)]
        for parameter in self.closed:
            parameter.requires_grad_(False)

    def parameter_groups(self, learner: Learner, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rates by layer for the middle, more decay for the large."""
        if self.rule == "slower below":
            slower: list[dict[str, Any]] = self.rates.parameter_groups(learner, groups)
            return slower
        if self.rule == "regularised":
            return [{**group, "weight_decay": STRONGER * group["weight_decay"]} for group in groups]
        return groups

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        """Smoothed labels for the large."""
        if self.rule != "regularised":
            return None
        found: Tensor = self.smoothing.loss(learner, batch, logits)
        return found
