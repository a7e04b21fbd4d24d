"""The training arguments of a Trainer that what is learned depends on, and whether they are those of before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# The training arguments that can change what is learned; seeds are told apart elsewhere.
LEARNING = (
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("dataloader_drop_last", "learning_rate", "loss_type"),
    *("optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "max_grad_norm"),
    *("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio", "label_smoothing_factor"),
    *("neftune_noise_alpha", "train_sampling_strategy", "group_by_length", "load_best_model_at_end"),
)
# Their product, with the processes, is how many rows a step learns from.
BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")


def learning_arguments(args: Any) -> dict[str, Any]:
    """Those of LEARNING that this version of transformers has, as JSON values."""
    given = args.to_dict()
    if given.get("gradient_accumulation_steps") == 1:  # as in folders from when there was nothing else
        del given["gradient_accumulation_steps"]
    return {name: given[name] for name in LEARNING if name in given}


def compared(arguments: Mapping[str, Any], processes: int) -> dict[str, Any]:
    """The ``arguments`` of so many ``processes``, equal where the same is learned, however a step's batch is shared."""
    left = {name: value for name, value in arguments.items() if name not in (*BATCH, "loss", "world_size")}
    return {**left, "batch size": processes * math.prod(arguments.get(name, 1) for name in BATCH)}
