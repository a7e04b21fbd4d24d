"""Loads the model of a run: a pretrained one with a fresh output layer, or the ``tiny`` one made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from clbench.errors import InputError
from clbench.head import guess_head, make_head
from clbench.kinds import find_kind
from clbench.models.frozen_precision import store_in_bf16
from clbench.models.language_model import load_language_model
from clbench.models.libraries import import_libraries
from clbench.models.model_kinds import check_model_type, reads_images
from clbench.models.pretrained import LoadedModel, load_pretrained
from clbench.models.recomputation import recompute_activations
from clbench.models.tiny import most_tokens, tiny_language_model, tiny_text_model
from clbench.models.vision import load_image_model
from clbench.rng import seeded_torch
from clbench.tasks import label_space

if TYPE_CHECKING:
    from clbench.config import RunConfig
    from clbench.scenario import Task


def load_model(config: RunConfig, tasks: Sequence[Task], labels: int, device: torch.device) -> LoadedModel:
    """The model with an output layer of ``labels`` columns, on ``device``, and its tokenizer (None for images).

    Random weights come from the stream "model" of the run's seed; dropout is set to ``config.dropout``.

    Raises:
        InputError: the model is unknown, cannot be loaded, does not fit the scenario's kind of task, or cannot do what
            ``config`` asks of it.
    """
    import_libraries()
    check_model_type(config.model, tasks[0].kind)
    if config.keep_head and config.model == "tiny":
        raise InputError("--keep-head: model 'tiny' is made on the spot and has no output layer yet; leave it away")
    kind = find_kind(tasks[0].kind)
    with seeded_torch(device, config.seed, "model"):
        if reads_images(kind):
            loaded = load_image_model(config, tasks, labels, device)
        elif kind.auto_class == "AutoModelForCausalLM":
            loaded = _language_model(config, tasks, device)
        elif config.model == "tiny":
            model, tokenizer = tiny_text_model(tasks, labels, config, kind.auto_class)
            loaded = LoadedModel(model, tokenizer, guess_head(model, labels), positions=most_tokens(config))
        else:
            names = _spellings(config, tasks)[:labels]
            loaded = load_pretrained(config, labels, device, names, kind.auto_class)
    if config.gradient_checkpointing:
        recompute_activations(loaded.model, config.model)
    if config.frozen_precision == "bf16":
        store_in_bf16(loaded.model, loaded.head, config.precision)
    loaded.model.to(device)
    return loaded


def _language_model(config: RunConfig, tasks: Sequence[Task], device: torch.device) -> LoadedModel:
    if config.model != "tiny":
        return load_language_model(config, device)
    model, tokenizer = tiny_language_model(tasks, config)
    return LoadedModel(model, tokenizer, make_head(model, None))


def _spellings(config: RunConfig, tasks: Sequence[Task]) -> list[tuple[str, ...]]:
    """What each label may be called in a model's own output layer: TASK/LABEL, as kept models have it, or LABEL."""
    space = label_space(tasks, config.setting)
    owner = {
        column: task.name for task, own in reversed(list(zip(tasks, space.columns, strict=True))) for column in own
    }
    return [(f"{owner[column]}/{name}", name) for column, name in enumerate(space.names)]
