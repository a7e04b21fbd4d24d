"""O-LoRA: a LoRA module for each task, its A pushed to be orthogonal to the A of all earlier ones; all answer together.

Wang et al. 2023, "Orthogonal Subspace Learning for Language Model Continual Learning": the loss gains
orthogonality · Σ_{i<t} Σ_layers Σ_jk (A_i A_tᵀ)²_jk, the sum of squares of the paper's formula, A of shape (rank,
inputs). Its authors' code sums absolute values instead (``penalty="absolute"``) and has an L2 term on the new module,
weighted 0 in their scripts and absent from the formula: left out here.
"""

from typing import Literal

import torch
from torch import Tensor

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import (
    Range,
    add_task_modules,
    check_arguments,
    learn_on_top,
    lora_layers,
    lora_settings,
    target_layers,
)


class OLora(Strategy):
    """Earlier modules stay active and frozen; the penalty's gradient is added in closed form before each step.

    The penalty at a task's end, without its weight, is noted in the log as "orthogonality"; 0 is orthogonal. In the
    task and the class setting an example is scored among its own task's labels, so that old rows of the output layer
    stay as they were. In the domain setting all tasks share the rows and go on learning them: on toy it
    forgot as much as naive there.

    Args:
        orthogonality: the penalty's weight, 0 or more; 0 is lora_incremental. Default from the authors' scripts.
        penalty: "squared" as in the paper, or "absolute" as in its authors' code.
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
    search_spaces = {"learning_rate": Range(1e-4, 1e-2, log=True), "orthogonality": Range(0.05, 5.0, log=True)}

    def __init__(
        self,
        orthogonality: float = 0.5,
        penalty: Literal["squared", "absolute"] = "squared",
        rank: int = 8,
        alpha: float = 16.0,
        target_modules: tuple[str, ...] = (),
        learning_rate: float = 1e-3,
    ) -> None:
        check_arguments("o_lora", rank=rank, alpha=alpha, learning_rate=learning_rate)
        if orthogonality < 0:
            raise InputError(f"o_lora: {orthogonality=} is not allowed; allowed: 0 or more")
        self.orthogonality, self.penalty = orthogonality, penalty
        self.rank, self.alpha, self.target_modules, self.learning_rate = rank, alpha, target_modules, learning_rate

    def setup(self, learner: Learner) -> None:
        """Wrap the model and make every task's module."""
        targets = target_layers("o_lora", learner, self.target_modules, self.rank)
        self.model, self.names = add_task_modules(
            learner, lambda: lora_settings(targets, self.rank, self.alpha), self.learning_rate
        )
        self.layers = list(lora_layers(self.model).values())
        self.position, self.past = 0, list[Tensor]()

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Put this task's module on the stack and let it learn alone."""
        self.position, self.past = task.position, []
        learn_on_top(learner, self.model, self.names[: task.position + 1])

    @torch.no_grad()
    def before_step(self, learner: Learner) -> None:
        """Add the penalty's gradient with respect to the new A: 2 O A_old, or sign(O) A_old, with O = A_new A_oldᵀ."""
        if not self.position or not self.orthogonality:
            return
        # Not earlier: a resumed run loads the weights after before_task.
        self.past = self.past or self._past()
        for new, old in zip(self._matrices(self.position), self.past, strict=True):
            overlap = new.flatten(1) @ old.T
            factor = 2 * overlap if self.penalty == "squared" else overlap.sign()
            if new.grad is not None:
                pushed = new.grad.flatten(1).addmm(factor, old, alpha=self.orthogonality)
                new.grad.copy_(pushed.view_as(new.grad))

    @torch.no_grad()
    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Note how orthogonal the new module has become."""
        if task.position:
            matrices = zip(self._matrices(task.position), self._past(), strict=True)
            overlaps = [new.flatten(1) @ old.T for new, old in matrices]
            sums = [(o.square() if self.penalty == "squared" else o.abs()).sum() for o in overlaps]
            learner.note("orthogonality", task=task.name, penalty=float(torch.stack(sums).sum()))

    def _matrices(self, task: int) -> list[Tensor]:
        """The A of a task's module in each layer (rank, inputs), of a convolution (rank, inputs, height, width)."""
        return [layer.lora_A[self.names[task]].weight for layer in self.layers]

    def _past(self) -> list[Tensor]:
        """The rows of all earlier A in each layer (earlier tasks · rank, inputs)."""
        return [torch.cat(same).flatten(1) for same in zip(*map(self._matrices, range(self.position)), strict=True)]
