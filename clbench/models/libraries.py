"""Imports the heavy libraries once, quietly, also where torchvision was built for another torch."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import torch

_operator_schemas: list[Any] = []


def import_libraries() -> None:
    """Import, quietly, the libraries that every run needs: it takes seconds, and only the first time in a process."""
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
    # PEFT asks transformers for it by its old name, which is no news to whoever runs clbench.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


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
