"""What tells one run's contents from another's of the same name: hashes of the starting weights and of the data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clbench.data import Example
from clbench.integrations.trainer.causal import base_model
from clbench.integrations.trainer.rows import rows_hash

# Of a config: where it lies, what wrote it, and what a forward pass with labels writes into it.
UNSAID = (
    "_name_or_path",
    "transformers_version",
    "base_model_name_or_path",
    "peft_version",
    "_commit_hash",
    "problem_type",
)


def start_hashes(model: nn.Module) -> dict[str, str]:
    """SHA-256 of the weights as they are, in the order of their names.

    Returns:
        "start_sha256" of all; "model_config_sha256", see :func:`config_hash`. "model_sha256" of those that are no head
        and no module of PEFT's, where the model was loaded: what is new beside them is drawn by the seed, as all of a
        model is that was made from a config.
    """
    state = model.state_dict()
    base: Any = base_model(model)
    found = {"start_sha256": weights_hash(state), "model_config_sha256": config_hash(model)}
    if getattr(base.config, "_name_or_path", ""):
        inside = {name.replace(".base_layer.", "."): value for name, value in base.base_model.state_dict().items()}
        modules = getattr(getattr(model, "base_model", None), "prefix", "")  # as "lora_"; none without PEFT
        pretrained = {name: value for name, value in inside.items() if not (modules and f".{modules}" in name)}
        found["model_sha256"] = weights_hash(pretrained)
    return found


def config_hash(model: nn.Module) -> str:
    """SHA-256 of what the model's config and those of PEFT's modules say, such as dropout and LoRA's alpha."""
    own = {"model": base_model(model).config, **getattr(model, "peft_config", {})}
    said = {name: {k: v for k, v in config.to_dict().items() if k not in UNSAID} for name, config in own.items()}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=_spelled).encode()).hexdigest()


def _spelled(value: Any) -> Any:
    """What JSON does not know: PEFT has sets of names."""
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bits, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def pool_hash(examples: Sequence[Example]) -> str:
    """SHA-256 of a task's rows, in whatever order and split: what a seed draws from, as long as it draws all."""
    each = sorted(rows_hash([example]) for example in examples)
    return hashlib.sha256("\n".join(each).encode()).hexdigest()
