"""Memory aware synapses: weights to which the model's output is sensitive are held where they were.

Aljundi et al. 2018, "Memory Aware Synapses: Learning what (not) to forget", equations 2 to 4. After each task
Ω_i gains the mean over examples of |∂ ‖f(x)‖² / ∂θ_i|, f the logits of the candidate labels, for each answer where an
example has several, and the loss of what follows gains strength · Σ_i Ω_i (θ_i − θ*_i)², θ* the weights as the last
task left them. No label is needed.
"""

from collections.abc import Sequence
from typing import Any

import torch

from clbench import Example, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import IGNORE, Range, Weights, add_pull, copy_weights, generator, to_device, zeros


class MAS(Strategy):
    """The absolute values are those of single examples, never of a batch's mean, so one example is passed at a time.

    Args:
        strength: λ, 0 or more; the default is the best of 0.3, 1 and 3 on text_seq's dev texts.
        samples: training examples of a task that Ω is estimated on, 1 or more.
    """

    idle_in_first_task = ("before_step",)
    kept_numbers = 2
    search_spaces = {"strength": Range(0.03, 30.0, log=True)}

    def __init__(self, strength: float = 1.0, samples: int = 200) -> None:
        if strength < 0 or samples < 1:
            raise InputError(f"mas: {strength=}, {samples=}; allowed: strength 0 or more, samples 1 or more")
        self.strength, self.samples = strength, samples

    def setup(self, learner: Learner) -> None:
        """Nothing is important before the first task has ended."""
        self.device = learner.device
        self.importance: Weights = {}
        self.centre: Weights = {}

    def before_step(self, learner: Learner) -> None:
        """Add the penalty's gradient to the task's."""
        add_pull(learner, self.importance, self.centre, 2 * self.strength)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Add the task's sensitivities to those of the tasks before."""
        order = torch.randperm(len(task.train), generator=generator(learner.seed, "mas", task.position))
        with learner.clock.measure("fisher"):
            gained = output_sensitivity(learner, [task.train[i] for i in order[: self.samples].tolist()])
        for name, value in gained.items():
            self.importance[name] = self.importance[name] + value if name in self.importance else value
        self.centre |= copy_weights(learner)

    def state_dict(self) -> dict[str, Any]:
        """The importance and the weights that the penalty pulls to."""
        return {"importance": self.importance, "centre": self.centre}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self.importance, self.centre = (to_device(state[name], self.device) for name in ("importance", "centre"))


def output_sensitivity(learner: Learner, examples: Sequence[Example]) -> Weights:
    """The mean over ``examples`` of |∂ ‖f(x)‖² / ∂θ| for every learning weight, the model in eval mode."""
    was_training = learner.model.training
    learner.model.eval()
    sums = zeros(learner)
    parameters = [p for _, p in learner.named_parameters()]
    try:
        for example in examples:
            batch = learner.collate([example])
            with learner.unscaled():
                logits = learner.logits(batch)
            masked = learner.mask(logits, batch["task_ids"])
            outputs = masked.masked_fill(masked.isinf(), 0.0)
            if outputs.ndim == 3:
                outputs = outputs * (batch["labels"] != IGNORE)[..., None]
            length = outputs.square().sum()
            gradients = torch.autograd.grad(length, parameters, allow_unused=True)
            reached = [(total, g.abs()) for total, g in zip(sums.values(), gradients, strict=True) if g is not None]
            torch._foreach_add_([total for total, _ in reached], [g for _, g in reached])
    finally:
        learner.model.train(was_training)
    torch._foreach_div_(list(sums.values()), len(examples))
    return sums
