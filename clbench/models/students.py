"""A second model that reads the same tokens as the run's: one to distil into."""

from __future__ import annotations

from typing import Any

import torch

from clbench.config import make_config
from clbench.errors import InputError
from clbench.head import guess_head
from clbench.models.model_kinds import check_model_type
from clbench.models.pretrained import LoadedModel, load_pretrained
from clbench.models.tiny import tiny_bert
from clbench.rng import seeded_torch

CLASSIFIER = "AutoModelForSequenceClassification"


def load_student(
    name: str, tokenizer: Any, labels: int, longest_text: int, seed: int, device: torch.device
) -> LoadedModel:
    """The model ``name``, with an output layer of ``labels`` columns, on ``device``, without dropout.

    Args:
        name: as a run's model is named; "tiny" is made on the spot for the words of ``tokenizer``.
        tokenizer: of the run's model. What it makes of texts is what the student will read.
        labels: columns.
        longest_text: in tokens.
        seed: of random weights, from the stream "student".

    Raises:
        InputError: it cannot be loaded, has other tokens, or reads shorter texts or padding on another side.
    """
    check_model_type(name, "text")
    with seeded_torch(device, seed, "student"):
        if name == "tiny":
            model = tiny_bert(len(tokenizer), labels, longest_text, 0.0)
            model.config.pad_token_id = tokenizer.pad_token_id  # type: ignore[union-attr] # transformers' own
            model.to(device)
            return LoadedModel(model, tokenizer, guess_head(model, labels), positions=longest_text)
        config = make_config({"scenario": "student", "strategy": "student", "model": name})
        loaded = load_pretrained(config, labels, device, [], CLASSIFIER)
    if loaded.tokenizer.get_vocab() != tokenizer.get_vocab():
        allowed = "tiny, or one with the same tokenizer"
        raise InputError(f"model {name!r} reads other tokens than the run's model; allowed: {allowed}")
    if loaded.padding_side != "right":
        raise InputError(f"model {name!r} reads padding before a text; allowed: an encoder that reads it after one")
    if loaded.positions is not None and loaded.positions < longest_text:
        has = f"model {name!r} has {loaded.positions} positions"
        raise InputError(f"{has}, and texts up to {longest_text} tokens; allowed: --max-length {loaded.positions}")
    loaded.model.to(device)
    return loaded
