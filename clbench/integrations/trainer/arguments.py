"""What a Trainer learns with, that its person decides: training arguments, and what stands in their place."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import partial
from typing import Any

from torch import Tensor

from clbench.integrations.trainer.causal import base_model

# The training arguments that can change what is learned; seeds are told apart elsewhere.
LEARNING = (
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("dataloader_drop_last", "learning_rate", "loss_type", "bf16"),
    *("optim", "optim_args", "optim_target_modules", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay"),
    *("max_grad_norm", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio"),
    *("label_smoothing_factor", "neftune_noise_alpha", "train_sampling_strategy", "group_by_length"),
    *("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
)
# Their product, with the processes, is how many rows a step learns from.
BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")
# What decides in a Trainer what is learned from which rows, where a class or object of one's own has another.
METHODS = (
    *("compute_loss", "training_step", "create_optimizer", "create_scheduler", "create_optimizer_and_scheduler"),
    *("get_train_dataloader", "_get_train_sampler", "get_batch_samples", "_prepare_inputs"),
)
LIBRARIES = ("transformers", "trl")
PLAIN = bool | int | float | str | None
OBJECT = object()  # in the place of a value that JSON does not know


def learning_arguments(trainer: Any, seed: int) -> dict[str, Any]:
    """All that ``trainer`` learns with, as JSON values: its LEARNING arguments, and what its person put in their place.

    Args:
        trainer: transformers', which has not trained yet.
        seed: the run's; those of the Trainer are told where they are others.
    """
    given = trainer.args.to_dict()
    found = _plain({name: given[name] for name in LEARNING if name in given})
    seeds = {"seed": given["seed"], "data_seed": given["seed"] if given["data_seed"] is None else given["data_seed"]}
    return {**found, **{name: value for name, value in seeds.items() if value != seed}, **dict(_own_parts(trainer))}


def compared(arguments: Mapping[str, Any], processes: int) -> dict[str, Any]:
    """The ``arguments`` of so many ``processes``, equal where the same is learned, however a step's batch is shared."""
    left = {name: value for name, value in arguments.items() if name not in (*BATCH, "world_size")}
    return {**left, "batch size": processes * math.prod(arguments.get(name, 1) for name in BATCH)}


def _own_parts(trainer: Any) -> Iterator[tuple[str, Any]]:
    """Names and descriptions of the parts of the person's own."""
    if trainer.optimizer is not None:
        groups = [{**_plain(group), "parameters": len(group["params"])} for group in trainer.optimizer.param_groups]
        yield "optimizer", {"class": _name(type(trainer.optimizer)), "groups": groups}
    elif trainer.optimizer_cls_and_kwargs is not None:
        made, keywords = trainer.optimizer_cls_and_kwargs
        yield "optimizer", {"class": _name(made), **_plain(keywords)}
    if trainer.lr_scheduler is not None:
        yield "lr_scheduler", _name(type(trainer.lr_scheduler))
    if trainer.compute_loss_func is not None:
        yield "compute_loss_func", _described(trainer.compute_loss_func)
    methods = {name: vars(trainer).get(name, getattr(type(trainer), name, None)) for name in METHODS}
    for name, function in {**methods, "forward": type(base_model(trainer.model)).forward}.items():
        if function is not None and getattr(function, "__module__", "").partition(".")[0] not in LIBRARIES:
            yield name, _described(function)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are JSON values, or can be written as such; objects are left out."""
    found = {name: _value(value) for name, value in values.items()}
    return {name: value for name, value in found.items() if value is not OBJECT}


def _value(value: Any) -> Any:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): inside for name, inside in _plain(value).items()}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, tuple | list):
        return [inside for inside in map(_value, value) if inside is not OBJECT]
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, PLAIN) else OBJECT


def _described(function: Any) -> str:
    """Its name, and a hash of its source, where Python knows it, and of the values that are bound to it."""
    if isinstance(function, partial):
        bound: Any = {**_plain(function.keywords), "": _value(function.args)}
        return f"{_described(function.func)} with {_hash(json.dumps(bound, sort_keys=True))}"
    try:
        source = inspect.getsource(function if inspect.isroutine(function) else type(function))
    except (OSError, TypeError):  # typed at a prompt, or not written in Python
        source = ""
    held = _plain(inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else _attributes(function))
    return f"{_name(function)} {_hash(source + (json.dumps(held, sort_keys=True) if held else ''))}"


def _attributes(function: Any) -> dict[str, Any]:
    """Of an object that is called, or whose method is."""
    return dict(getattr(getattr(function, "__self__", function), "__dict__", {}))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _name(thing: Any) -> str:
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"
