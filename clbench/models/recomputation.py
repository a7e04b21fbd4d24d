"""Activations that are computed again in the backward pass, in place of kept: gradient checkpointing.

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". Each layer keeps what it reads and is computed a
second time when its gradients are due, with the random numbers of the first: the same bits, for one forward pass more.
The libraries that made a model do it, in training mode only.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from clbench.errors import InputError
from clbench.models.image_model import ImageModel


def recompute_activations(model: nn.Module, name: str) -> None:
    """Let the layers of ``model`` be computed again in each backward pass of training.

    Args:
        model: as it was loaded; copies of it do so, too.
        name: what a person called it, for the error line.

    Raises:
        InputError: its code cannot do so, or would move statistics of batch normalisation twice.
    """
    network: Any = model.network if isinstance(model, ImageModel) else model
    try:
        if isinstance(model, ImageModel) and model.timm is not None:
            network.set_grad_checkpointing(True)
            model.recomputes = True
        else:
            _enable(network)
    except (AttributeError, AssertionError, ValueError):  # as transformers and timm say it
        raise InputError(
            f"--gradient-checkpointing: model {name!r} ({type(network).__name__}) cannot compute its layers again; "
            "allowed: models of transformers or timm that can, such as BERT, Llama and ViT"
        ) from None
    normed = [key for key, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if normed and getattr(model, "batch_norm", "updated") == "updated":
        raise InputError(
            f"--gradient-checkpointing: computing {normed[0]} of model {name!r} again would move its statistics twice; "
            "allowed: --batch-norm frozen"
        )


def recomputes_activations(model: nn.Module) -> bool:
    """Whether the layers of ``model``, of a copy or of a wrapper of it, are computed again in training."""
    timm = any(getattr(module, "recomputes", False) for module in model.modules())
    return timm or any(getattr(module, "gradient_checkpointing", False) is True for module in model.modules())


def _enable(network: Any) -> None:
    # Older versions of transformers know the second name alone, and newer ones warn of it.
    new = getattr(network, "activation_checkpointing_enable", None)
    (new or network.gradient_checkpointing_enable)({"use_reentrant": False})
    # Embeddings that look as if they learned are for reentrant checkpointing: they would keep a frozen body's graph.
    network.disable_input_require_grads()
    body = network.base_model
    if "use_cache" in inspect.signature(body.forward).parameters:
        body.register_forward_pre_hook(_without_cache, with_kwargs=True)


def _without_cache(body: nn.Module, inputs: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    """Keys and values are for writing on; a layer that is computed again must not add its own a second time."""
    return (inputs, {**keywords, "use_cache": False}) if body.training else None
