"""Inside Avalanche's loop: clbench's schedule and clipping as a plug-in, seeds, and what a strategy keeps."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clbench.config import Schedule
from clbench.errors import RunError
from clbench.integrations.avalanche.catalogue import import_avalanche
from clbench.toolkit import learning_rate_factor


class Recipe:
    """A plug-in of Avalanche's: warm-up, schedule and clipping as in clbench's own loop.

    It needs no base class: Avalanche calls the hooks that a plug-in has.

    Args:
        optimizer: its groups have their peak learning rates.
        warmup: the share of a task's steps over which the rates rise.
        max_grad_norm: to which the gradients are clipped; infinite for no clipping.
        schedule: of the rates after the warm-up.

    Attributes:
        seen: examples of the current task's batches so far.
    """

    supports_distributed = False

    def __init__(
        self, optimizer: torch.optim.Optimizer, warmup: float, max_grad_norm: float, schedule: Schedule = "linear"
    ) -> None:
        self.peak_rates = [group["lr"] for group in optimizer.param_groups]
        self.warmup, self.max_grad_norm, self.schedule = warmup, max_grad_norm, schedule
        self.step = self.steps = self.seen = 0
        self.losses: list[Tensor] = []

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        """A new task."""
        self.step = self.steps = self.seen = 0
        self.losses = []

    def before_training_epoch(self, strategy: Any, **_: Any) -> None:
        """By now every plug-in has had its say on the task's batches."""
        self.steps = self.steps or len(strategy.dataloader) * strategy.train_epochs

    def before_update(self, strategy: Any, **_: Any) -> None:
        """The gradients are ready, those of penalties and projections too."""
        factor = learning_rate_factor(self.step, self.steps, self.warmup, self.schedule)
        for group, peak in zip(strategy.optimizer.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * factor
        if self.max_grad_norm < math.inf:
            nn.utils.clip_grad_norm_(strategy.model.parameters(), self.max_grad_norm)

    def after_training_iteration(self, strategy: Any, **_: Any) -> None:
        """The optimizer has stepped."""
        self.step += 1
        self.seen += len(strategy.mb_y)
        self.losses.append(strategy.loss.detach().reshape(()))

    def after_training_epoch(self, strategy: Any, **_: Any) -> None:
        """Find a loss that is not a number.

        Raises:
            RunError: there is one; names the step.
        """
        bad = (~torch.stack(self.losses).isfinite()).nonzero().flatten().tolist() if self.losses else []
        if bad:
            raise RunError(
                f"the loss of {type(strategy).__name__} is no number at step {bad[0] + 1} of {self.steps}; finished "
                "tasks are kept; try a smaller --lr or --head-lr"
            )


@contextmanager
def without_retirements() -> Iterator[None]:
    """Hide the warnings in which Avalanche tells itself what it should no longer call; show each other one once."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    shown = {(w.category, str(w.message)): w for w in caught}
    for (category, text), warning in shown.items():
        retired = issubclass(category, DeprecationWarning | FutureWarning) and "avalanche" in warning.filename
        if not retired:
            warnings.warn_explicit(text, category, warning.filename, warning.lineno)


@contextmanager
def weights_copied() -> Iterator[None]:
    """Let Synaptic Intelligence keep copies of the weights, as its formula needs.

    Avalanche 0.6 keeps ``parameter.detach().cpu().flatten()``, on a CPU the parameter itself by another name: no weight
    seems ever to have moved, so that neither importance nor penalty is anything but 0.
    """
    plugin = import_avalanche("training.plugins").SynapticIntelligencePlugin
    own = vars(plugin)["extract_weights"]

    def extract(model: nn.Module, target: Mapping[str, Any], excluded: set[str]) -> None:
        own.__func__(model, target, excluded)
        for kept in target.values():
            kept.data = kept.data.clone()

    plugin.extract_weights = staticmethod(extract)
    try:
        yield
    finally:
        plugin.extract_weights = own


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global random states that Avalanche draws from, and put them back as they were.

    Args:
        seed: of Python's, numpy's and torch's generators.
        device: where the model is.
    """
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


def kept_tensors(strategy: Any) -> list[Tensor]:
    """The tensors that an Avalanche strategy and its plug-ins keep: importances, old weights, teachers, memories.

    Args:
        strategy: between two tasks.

    Returns:
        Each of them once, without those of the model that it trains. Of a memory the inputs, one tensor an example.
    """
    from avalanche.benchmarks.utils.data import AvalancheDataset

    skip = {id(tensor) for tensor in (*strategy.model.parameters(), *strategy.model.buffers())}
    skip |= {id(value) for value in (strategy.model, strategy.optimizer, strategy._criterion, strategy.evaluator)}
    skip |= {id(strategy.loss)}
    live = {parameter.untyped_storage().data_ptr() for parameter in strategy.model.parameters()}
    found: list[Tensor] = []

    def look(values: Iterable[Any]) -> None:
        for value in values:
            if id(value) in skip:
                continue
            if isinstance(value, AvalancheDataset):
                found.extend(value[number][0] for number in range(len(value)))
            elif isinstance(value, Tensor):
                if value.untyped_storage().data_ptr() not in live:  # a second name for the weights takes no memory
                    found.append(value)
            elif isinstance(value, nn.Module):
                look(value.parameters())
                look(value.buffers())
            elif isinstance(value, dict):
                look(value.values())
            elif isinstance(value, list | tuple | set):
                look(value)
            elif type(value).__module__.startswith("avalanche."):
                skip.add(id(value))  # they refer to each other
                look(vars(value).values())

    look(vars(strategy).values())
    return list({id(tensor): tensor for tensor in found}.values())
