"""Learner: the model and its label space; forward pass, logits, task loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from clbench.clock import Clock
from clbench.data import Batch, Example, collate
from clbench.labels import LabelSpace

INPUTS = ("input_ids", "attention_mask", "pixel_values")


class Learner:
    """What strategies and the evaluator know of the model.

    Attributes:
        model: the network; its output has ``.logits`` of shape (examples, labels of the scenario).
        labels: which column is which label.
        seed: the run's seed, for random streams of one's own (``clbench.rng``).
        tasks: how many tasks the scenario has.
        tasks_seen: how many of them training has reached.
        local_labels: score training examples among their own task's labels even where the setting gives no task id.
        learning_rates: peak learning rates of "body" and "head"; a strategy may change them in ``setup``.
        clock: seconds by purpose, for the run's cost.
    """

    def __init__(
        self,
        model: nn.Module,
        labels: LabelSpace,
        *,
        seed: int = 0,
        padding_id: int = 0,
        precision: str = "fp32",
        lr: float = 1e-4,
        head_lr: float = 1e-3,
        clock: Clock | None = None,
    ) -> None:
        self.model = model
        self.labels = labels
        self.seed = seed
        self.padding_id = padding_id
        self.precision = precision
        self.tasks = len(labels.columns)
        self.tasks_seen = 0
        self.local_labels = False
        self.learning_rates = {"body": lr, "head": head_lr}
        self.clock = clock or Clock()

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return next(self.model.parameters()).device

    def autocast(self) -> AbstractContextManager[Any]:
        """The run's mixed precision."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.precision == "bf16" else torch.float16)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """``examples`` as a batch on the model's device."""
        return collate(examples, self.padding_id, self.device)

    def logits(self, batch: Batch, model: nn.Module | None = None) -> Tensor:
        """Unmasked fp32 logits (examples, labels of the scenario), by ``model`` when another one is given."""
        with self.autocast():
            output = (model or self.model)(**{key: batch[key] for key in INPUTS if key in batch})
        logits: Tensor = output.logits
        return logits.float()

    def mask(self, logits: Tensor, task_ids: Tensor) -> Tensor:
        """``logits`` with −inf in every column that is no candidate for the example's task."""
        allowed = torch.zeros(self.tasks, logits.shape[1], dtype=torch.bool)
        for task in range(self.tasks):
            columns = self.labels.columns[task] if self.local_labels else self.labels.candidates(task, self.tasks_seen)
            allowed[task, list(columns)] = True
        return logits.masked_fill(~allowed.to(logits.device)[task_ids], float("-inf"))

    def example_losses(self, logits: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of each example (examples,) among its candidate labels."""
        return nn.functional.cross_entropy(self.mask(logits, batch["task_ids"]), batch["labels"], reduction="none")

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that learn, in the model's order."""
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    @staticmethod
    def is_head(name: str) -> bool:
        """Whether the parameter or module ``name`` belongs to the output layer, not to the (pretrained) body."""
        return any(part in ("classifier", "score") for part in name.split("."))

    def freeze_body(self) -> None:
        """Let only the output layer learn."""
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self.is_head(name))
