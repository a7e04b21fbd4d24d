"""Several processes that torchrun or accelerate launch started around one Trainer: what they cannot do together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from clbench.errors import InputError
from clbench.models import ranks
from clbench.plugins import check_parts
from clbench.strategy import Strategy


def sharing(trainer: Any) -> dict[str, tuple[Any, Any]]:
    """Settings that say how several processes share batches out."""
    found = trainer.args.accelerator_config
    dispatched, split, even = bool(found.dispatch_batches), found.split_batches, found.even_batches
    alone = ranks.count() == 1
    return {
        "dispatch_batches": (dispatched, dispatched if alone else False),
        "split_batches": (split, split if alone else False),
        "even_batches": (even, even if alone else True),
    }


def check_processes(trainer: Any, members: Sequence[tuple[str, Strategy]]) -> None:
    """Refuse, where several processes train, what would not be what one gives.

    Raises:
        InputError: names it and the reason.
    """
    if ranks.count() == 1:
        return
    check_parts(members)
    if type(trainer).compute_loss.__module__.split(".")[0] not in ("transformers", "trl"):
        raise InputError(
            f"{type(trainer).__name__}.compute_loss does not say whether its mean is over the rows of one process or "
            f"of all {ranks.count()}; allowed: compute_loss_func, which is told num_items_in_batch, or one process"
        )
    for name, module in trainer.model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise InputError(
                f"the model's {name!r} is a batch norm, which would have statistics of its own in each of "
                f"{ranks.count()} processes; allowed: one process"
            )
