"""A fresh LoRA module for each task from the pretrained model; all tasks' modules merged into one set of weights.

Hu et al. 2021, "LoRA": task t's vector is τ_t = (alpha / rank) · B_t A_t in each layer. The weights that answer for all
tasks are W + scale · merge(τ_1 … τ_t): their mean (Ilharco et al. 2023), TIES (Yadav et al. 2023: trimmed to the
largest ``density`` of the whole vector, signs elected by sum, mean of those that agree) or the element of largest
magnitude. PEFT merges A and B apart or cuts to the rank again; here the products are merged, without loss.
"""

import copy
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import (
    Deployable,
    Range,
    add_task_modules,
    check_arguments,
    learn_on_top,
    lora_layers,
    lora_settings,
    merging,
    target_layers,
)


class LoraMerge(Strategy):
    """The merged weights answer with and without a task id; modules are kept because the next merge needs them.

    In the task and the class setting an example is scored among its own task's labels: each task has its own rows of
    the output layer, and nothing there to merge. Where tasks share labels, as in the domain setting, the output layer
    starts afresh with each task too and is part of the task vector.

    Args:
        merge: "mean", "ties" (better than the mean on text_seq's dev texts) or "magnitude_max".
        density: share of a task vector that TIES keeps, above 0 to 1; default from the paper.
        scale: of the merged vector, above 0; 1 is what the TIES paper takes without a tuning set.
        rank: of each module, 1 or more; not tuned.
        alpha: a module's output is scaled by alpha / rank, above 0; not tuned.
        target_modules: names of the layers that get one, as PEFT matches them; empty for all in the body.
        learning_rate: peak learning rate of the modules, above 0; the default is the best of 0.001, 0.003 and 0.01 on
            text_seq's dev texts.
    """

    kinds = ("text", "token", "generation", "image")
    alone = "lora_merge learns each task from the pretrained model, so there is nothing to protect"
    search_spaces = {"learning_rate": Range(3e-4, 3e-2, log=True), "density": Range(0.1, 1.0), "scale": Range(0.3, 1.5)}

    def __init__(
        self,
        merge: Literal["mean", "ties", "magnitude_max"] = "ties",
        density: float = 0.2,
        scale: float = 1.0,
        rank: int = 8,
        alpha: float = 16.0,
        target_modules: tuple[str, ...] = (),
        learning_rate: float = 3e-3,
    ) -> None:
        check_arguments("lora_merge", scale=scale, rank=rank, alpha=alpha, learning_rate=learning_rate)
        if not 0 < density <= 1:
            raise InputError(f"lora_merge: {density=} is not allowed; allowed: above 0, at most 1")
        self.merge, self.density, self.scale = merge, density, scale
        self.rank, self.alpha, self.target_modules, self.learning_rate = rank, alpha, target_modules, learning_rate

    def setup(self, learner: Learner) -> None:
        """Wrap the model, make every task's module, and keep the weights that the tasks start from."""
        targets = target_layers("lora_merge", learner, self.target_modules, self.rank)
        self.model, self.names = add_task_modules(
            learner, lambda: lora_settings(targets, self.rank, self.alpha), self.learning_rate
        )
        shared = learner.labels.shares_columns
        self.head = {n: p for n, p in learner.model.named_parameters() if shared and learner.is_head(n)}
        self.layers = list(lora_layers(learner.model).values())
        self.weights = [*(layer.get_base_layer().weight for layer in self.layers), *self.head.values()]
        self.start: list[Tensor] = [weight.detach().clone() for weight in self.weights]
        self.heads: list[list[Tensor]] = []
        self.learned = self.loaded = 0
        learner.while_writing = lambda: self.outside_tasks(learner)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Start afresh from the pretrained weights, with this task's module."""
        self._load(self.start, 0)
        learn_on_top(learner, self.model, [self.names[task.position]])

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Keep what the task learned."""
        self.heads.append([parameter.detach().clone() for parameter in self.head.values()])
        self.learned = task.position + 1

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """Answer with the merged weights."""
        with self.outside_tasks(learner):
            return learner.logits(batch)

    def outside_tasks(self, learner: Learner) -> AbstractContextManager[None]:
        """The merged weights."""
        if self.loaded != self.learned:
            self._load(self._merged(), self.learned)
        without: AbstractContextManager[None] = self.model.disable_adapter()
        return without

    def deployable(self, learner: Learner, task_id: int | None) -> Deployable | None:
        """The merged weights, without the modules that they are made of."""
        return Deployable(copy.deepcopy(self.model).unload())

    def state_dict(self) -> dict[str, Any]:
        """How many tasks have been learned, and each one's output layer where they share it."""
        return {"learned": self.learned, "heads": self.heads}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore that; the merged weights are made again when they are needed."""
        device = self.start[0].device
        self.learned, self.heads = state["learned"], [[p.to(device) for p in head] for head in state["heads"]]

    @torch.no_grad()
    def _load(self, weights: list[Tensor], tasks: int) -> None:
        """Give the model ``weights`` that are merged from ``tasks`` tasks; the modules stay as they are."""
        torch._foreach_copy_(list(self.weights), weights)
        self.loaded = tasks

    @torch.no_grad()
    def _merged(self) -> list[Tensor]:
        vectors = merging.merged(self._vector, self.learned, len(self.weights), self.merge, self.density)
        return [start + self.scale * vector for start, vector in zip(self.start, vectors, strict=True)]

    def _vector(self, task: int, number: int) -> Tensor:
        """What ``task`` added to one of the weights."""
        if number < len(self.layers):
            delta: Tensor = self.layers[number].get_delta_weight(self.names[task])
            return delta
        return self.heads[task][number - len(self.layers)] - self.start[number]
