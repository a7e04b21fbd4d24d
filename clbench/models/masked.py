"""The masked-language-model head that a checkpoint was pretrained with, for another model's body."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from clbench.models.pretrained import read_model, read_settings
from clbench.rng import seeded_torch
from clbench.sources import model_path

if TYPE_CHECKING:
    from clbench.config import RunConfig


def load_masked(config: RunConfig, device: torch.device) -> nn.Module | None:
    """The checkpoint's masked language model on ``device`` without its body; None where it has no such head.

    Args:
        config: of a run whose model was loaded, so that its files are known to be whole.
        device: of the body that it will read.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    if config.model == "tiny":
        return None
    path = model_path(config.model)
    settings = read_settings(path, config)
    if settings.is_encoder_decoder or type(settings) not in MODEL_FOR_MASKED_LM_MAPPING:
        return None
    with seeded_torch(device, 0, "masked"):  # what is missing is drawn, and not used
        model, loading = read_model(path, config, settings, device, "AutoModelForMaskedLM")
    if {name for name, _ in model.named_parameters()} & set(loading["missing_keys"]):
        return None
    setattr(model, model.base_model_prefix, None)
    masked: nn.Module = model.to(device).eval()
    return masked
