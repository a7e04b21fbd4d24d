"""How much memory a training step will take, told before the first one, from shapes alone.

Weights, gradients and the optimizer's state are counted. What else a step needs is found by doing one on fake tensors,
torch's stand-ins that have shapes and no memory, with the bytes counted that would be alive: so a model of any size
can be asked about, and attention, mixed precision, LoRA and layers that are computed again need no formulas here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from clbench.config import RunConfig
from clbench.data import Batch, Example, length
from clbench.learner import Learner
from clbench.models import LiveBytes
from clbench.strategy import Stack, Strategy
from clbench.text import size_text
from clbench.toolkit import temporarily

FP32 = 4
# Numbers that an optimizer keeps of a weight; SGD keeps one where it has momentum.
MOMENTS = {"adamw": 2, "adam": 2, "sgd": 0}


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on the device at the fullest moment of a training step, as far as shapes tell.

    Attributes:
        weights: parameters and buffers, those that do not learn too.
        gradients: of what learns.
        optimizer: its state of what learns.
        strategy: what the strategy keeps of what learns while a later task is learned.
        activations: what else is alive at that moment, above the gradients: what waits for the backward pass, weights
            that mixed precision has cast, and what an operation returns on the way; None where the model's code cannot
            be followed on shapes.
        unknown: strategies that keep what is not counted here.
    """

    weights: int
    gradients: int
    optimizer: int
    strategy: int
    activations: int | None
    unknown: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.strategy + (self.activations or 0)

    def line(self) -> str:
        """For a person."""
        parts = [("weights", self.weights), ("gradients", self.gradients), ("optimizer", self.optimizer)]
        parts += [("strategy", self.strategy)] if self.strategy else []
        parts += [("activations", self.activations)] if self.activations is not None else []
        told = " + ".join(f"{name} {size_text(size)}" for name, size in parts)
        without = ["activations"] if self.activations is None else []
        without += [f"what {name} keeps" for name in self.unknown]
        rest = f"; without {', '.join(without)}" if without else ""
        return f"estimate of a training step's memory: {size_text(self.total)} = {told}{rest}"


def estimate_memory(
    learner: Learner, strategy: Strategy, config: RunConfig, examples: Sequence[Example]
) -> MemoryEstimate:
    """What a step on a full batch of the longest of ``examples`` takes, with what ``strategy.setup`` lets learn.

    Nothing is computed and nothing of the learner changes. Rows that a memory adds to a batch are not in it.

    Args:
        learner: its model may be on torch's device "meta", without weights.
        strategy: set up.
        config: the run's.
        examples: tokenised examples.
    """
    numbers = sum(p.numel() for _, p in learner.named_parameters())
    gradients = sum(p.numel() * p.element_size() for _, p in learner.named_parameters())
    moments = 1 if config.optimizer == "sgd" and config.momentum else MOMENTS[config.optimizer]
    kept, unknown = kept_numbers(strategy)
    above = _above_weights(learner, config, examples)
    if kept and above is not None:  # a penalty takes as many numbers as learn for its difference, gradients beside it
        above = max(above, gradients + FP32 * numbers)
    return MemoryEstimate(
        weights=storage_bytes([*learner.model.parameters(), *learner.model.buffers()]),
        gradients=gradients,
        optimizer=moments * gradients,
        strategy=FP32 * kept * numbers,
        activations=None if above is None else max(0, above - gradients),
        unknown=unknown,
    )


def kept_numbers(strategy: Strategy) -> tuple[int, tuple[str, ...]]:
    """How many fp32 numbers ``strategy`` keeps of each learning weight, and which members keep what is not known."""
    members = strategy.members if isinstance(strategy, Stack) else (("the strategy", strategy),)
    stateless = {name for name, member in members if type(member).state_dict is Strategy.state_dict}
    unknown = tuple(name for name, m in members if m.kept_numbers is None and name not in stateless)
    return sum(member.kept_numbers or 0 for _, member in members), unknown


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of ``tensors``, those that share memory once."""
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())


def _above_weights(learner: Learner, config: RunConfig, examples: Sequence[Example]) -> int | None:
    """The most bytes alive in a step but for the weights; None where its operations need numbers, not shapes."""
    rows, mode = -(-config.batch_size // config.accumulation), FakeTensorMode(allow_non_fake_inputs=True)
    try:
        with temporarily(learner, model=_without_numbers(learner.model, mode).train()):
            learner.candidates(learner.local_labels)  # the learner keeps them, so they must be real
            batch = learner.collate([max(examples, key=length)] * rows)
            with mode:
                return _step_bytes(learner, {name: mode.from_tensor(value) for name, value in batch.items()})
    except (RuntimeError, NotImplementedError):  # what torch raises for an operation without a stand-in
        return None
    finally:
        learner.model.zero_grad()  # hooks of a strategy may read parameters of the model itself


def _without_numbers(model: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """A copy of ``model`` whose parameters and buffers are shapes only, on the device where a run would have them."""
    stand_ins: dict[int, Any] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        device = "cpu" if tensor.is_meta else tensor.device
        with mode:
            made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
            learns = isinstance(tensor, nn.Parameter)
            stand_ins[id(tensor)] = nn.Parameter(made, tensor.requires_grad) if learns else made
    return copy.deepcopy(model, stand_ins)


def _step_bytes(learner: Learner, batch: Batch) -> int:
    live = LiveBytes([*learner.model.parameters(), *learner.model.buffers(), *batch.values()])
    with live:
        loss = learner.example_losses(learner.logits(batch), batch).mean()
        loss.backward()
    return live.peak
