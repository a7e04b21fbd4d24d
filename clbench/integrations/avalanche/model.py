"""A Hugging Face model as Avalanche trains it: one tensor in, logits out; and the loss over clbench's candidates.

``AvalancheModel(network, padding_id, precision)`` is the wrapper that clbench gives to Avalanche's strategies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clbench.data import Example
from clbench.integrations.avalanche.catalogue import import_avalanche
from clbench.learner import Learner

MultiTaskModule: Any = import_avalanche("models").MultiTaskModule

# Stands in an input tensor where a text has ended; no token has this number, whatever the tokenizer pads with.
PADDING = -1


def stack_inputs(examples: Sequence[Example], width: int) -> Tensor:
    """What the model reads, as one tensor: Avalanche joins batches along the first dimension only.

    Args:
        examples: tokenised texts or images.
        width: tokens to which every text is padded; ignored for images.

    Returns:
        Token ids (examples, width) int64 with ``PADDING`` after each text's end, or pixels (examples, channels,
        height, width) fp32.
    """
    if "pixel_values" in examples[0]:
        return torch.stack([example["pixel_values"] for example in examples])
    inputs = torch.full((len(examples), width), PADDING)
    for row, example in zip(inputs, examples, strict=True):
        row[: len(example["input_ids"])] = example["input_ids"]
    return inputs


class AvalancheModel(nn.Module):
    """A model with ``.logits`` in its output, called with one tensor.

    Args:
        network: a model for sequence classification of transformers, or an image model with the keyword
            ``pixel_values``; its parameters are named ``network.NAME``.
        padding_id: the token that the network expects where a text has ended.
        precision: "fp32", or "bf16" for a forward pass under autocast.
    """

    def __init__(self, network: nn.Module, padding_id: int = 0, precision: str = "fp32") -> None:
        super().__init__()
        self.network = network
        self.padding_id = padding_id
        self.precision = precision

    def forward(self, inputs: Tensor) -> Tensor:
        """Unmasked fp32 logits (examples, labels) of what :func:`stack_inputs` gave."""
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if inputs.is_floating_point():
                output = self.network(pixel_values=inputs)
            else:
                # No more columns than the batch's longest text needs.
                inputs = inputs[:, : int((inputs != PADDING).sum(1).max())]
                ended = inputs == PADDING
                ids = inputs.masked_fill(ended, self.padding_id)
                output = self.network(input_ids=ids, attention_mask=(~ended).long())
        logits: Tensor = output.logits
        return logits.float()


class TaskAwareModel(AvalancheModel, MultiTaskModule):  # type: ignore[misc]
    """The same for the setting ``task``: to Avalanche every task has a head of its own.

    A head is a task's columns of the one output layer; who wants a task's answer looks at its columns only, as
    :class:`CandidateCrossEntropy` and Avalanche's LwF do.
    """

    known_train_tasks_labels: set[int]

    def forward(self, inputs: Tensor, *task_labels: Tensor | int | None) -> Any:
        """The logits; with None for the task labels a dict of those of every task trained on so far."""
        logits = super().forward(inputs)
        return dict.fromkeys(self.known_train_tasks_labels, logits) if task_labels == (None,) else logits


def wrap(learner: Learner) -> AvalancheModel:
    """The learner's own model, not a copy, in the wrapper that fits its setting."""
    wrapper = TaskAwareModel if learner.labels.setting == "task" else AvalancheModel
    return wrapper(learner.model, learner.padding_id, learner.precision)


class CandidateCrossEntropy(nn.Module):
    """Cross-entropy among the labels that clbench's own training loop would score.

    Avalanche's criterion sees no task: a label's column tells it (in the setting ``domain`` all tasks share theirs).

    Attributes:
        reduction: "mean" or "none"; Avalanche's MIR changes it for a moment.
    """

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner
        self.reduction = "mean"
        owner = {column: task for task, columns in enumerate(learner.labels.columns) for column in columns}
        self.tasks = torch.tensor([owner[column] for column in range(len(learner.labels.names))])

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of ``logits`` (examples, labels of the scenario) with the true columns ``labels`` (examples,)."""
        self.tasks = self.tasks.to(labels.device)
        batch = {"labels": labels, "task_ids": self.tasks[labels]}
        losses = self.learner.example_losses(logits, batch)
        return losses.mean() if self.reduction == "mean" else losses
