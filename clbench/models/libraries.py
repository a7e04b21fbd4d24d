"""Imports the heavy libraries once, quietly, also where torchvision was built for another torch."""

from __future__ import annotations

import functools
import importlib.util
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch

from clbench.errors import InputError

_operator_schemas: list[Any] = []


def import_libraries() -> None:
    """Import, quietly, the libraries that every run needs: it takes seconds, and only the first time in a process.

    Raises:
        InputError: Python leaves docstrings out, which transformers reads.
    """
    if sys.flags.optimize > 1:
        raise InputError(
            "Python runs without docstrings (-OO, PYTHONOPTIMIZE=2), which transformers needs; allowed: -O"
        )
    survive_torchvision()
    import datasets
    import huggingface_hub
    import transformers
    import transformers.conversion_mapping
    import transformers.models.auto.modeling_auto
    import transformers.models.bert.modeling_bert

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    huggingface_hub.logging.set_verbosity_error()
    _make_masks_without_asking()
    # PEFT asks transformers for it by its old name, which is no news to whoever runs clbench.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


def _make_masks_without_asking() -> None:
    """Let transformers make each attention mask on a GPU without looking whether it hides anything.

    It looks in every forward pass, to leave out a mask that hides nothing, and the host waits for the answer. Such a
    mask changes no result but by rounding: sdpa takes a kernel that reads masks for every batch, as it did for all with
    padding. On a CPU, where nothing waits, transformers goes on as it does.
    """
    from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask

    def made(make: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(make)
        def mask(*args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
            if attention_mask is not None and attention_mask.device.type != "cpu":
                kwargs.update(allow_is_causal_skip=False, allow_is_bidirectional_skip=False)
            return make(*args, attention_mask=attention_mask, **kwargs)

        return mask

    for name, make in (("eager", eager_mask), ("sdpa", sdpa_mask)):
        AttentionMaskInterface.register(name, made(make))


def survive_torchvision() -> None:
    """Let transformers, and what imports it, be imported also where torchvision was built for another torch.

    There ``import torchvision`` fails because its compiled operators are missing, and transformers imports it
    whenever it is installed. Declaring the two operators that torchvision's Python code refers to is enough.
    """
    if not _operator_schemas and importlib.util.find_spec("torchvision") is not None:
        try:
            import torchvision  # type: ignore[import-not-found, import-untyped, unused-ignore] # noqa: F401
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            library = torch.library.Library("torchvision", "DEF")
            library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _operator_schemas.append(library)
