"""Which models read texts and which images; a model of the wrong kind is refused before it is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from clbench.errors import InputError
from clbench.files import expand
from clbench.kinds import Kind, find_kind
from clbench.models.safe_weights import read_json
from clbench.sources import ARGUMENTS, TIMM, split_model_name

# transformers' class for models that read images.
IMAGE_CLASS = "AutoModelForImageClassification"
MADE_ON_THE_SPOT = ("tiny", "mlp", "smallconv", "vit")
IMAGES = (*MADE_ON_THE_SPOT, "efficientnet_lite0")
TEXTS = tuple(name for name in ARGUMENTS if name == "tiny" or name not in IMAGES)
ALLOWED = {
    True: "tiny, mlp(width,depth), smallconv, vit(width,depth), efficientnet_lite0, timm:NAME, a folder or hub id of "
    "an image classifier",
    False: f"{', '.join(TEXTS)}, a folder, a hub id",
}


def is_made_on_the_spot(model: str) -> bool:
    """Whether the model of that name is made anew, with random weights, for each run."""
    return split_model_name(model)[0] in MADE_ON_THE_SPOT


def reads_images(kind: str | Kind) -> bool:
    """Whether models for tasks of ``kind`` read images."""
    return find_kind(kind).auto_class == IMAGE_CLASS


def check_kind(model: str, kind: str | Kind) -> None:
    """Refuse a model whose name says that it does not read what tasks of ``kind`` have.

    Raises:
        InputError: it is of another kind, or its arguments cannot be read.
    """
    images = reads_images(kind)
    name, _ = split_model_name(model)
    if name in ARGUMENTS and name not in (IMAGES if images else TEXTS):
        raise _wrong_kind(model, images)
    if model.startswith(TIMM) and not images:
        raise _wrong_kind(model, images)


def check_model_type(model: str, kind: str | Kind) -> None:
    """The same of a folder whose config.json says so; hub ids are asked when they are loaded.

    Raises:
        InputError: as :func:`check_kind`.
    """
    check_kind(model, kind)
    folder, images = expand(model, "model"), reads_images(kind)
    if split_model_name(model)[0] in ARGUMENTS or not os.path.isdir(folder):
        return
    try:
        settings = read_json(str(folder), "config.json")
    except (OSError, ValueError):
        return  # whoever loads it says what is wrong
    from transformers.models.auto import modeling_auto

    of_images = settings.get("model_type") in modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    of_texts = settings.get("model_type") in {
        *modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        *modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    }
    if (of_texts and not of_images) if images else ((of_images and not of_texts) or is_timm(settings)):
        raise _wrong_kind(model, images)


def is_timm(settings: Mapping[str, Any]) -> bool:
    """Whether a config.json is in timm's format: an architecture's name, no model type."""
    return isinstance(settings.get("architecture"), str) and "model_type" not in settings


def _wrong_kind(model: str, images: bool) -> InputError:
    here = "reads texts, and this scenario has images" if images else "reads images, and this scenario has texts"
    return InputError(f"model {model!r} {here}; allowed: {ALLOWED[images]}")
