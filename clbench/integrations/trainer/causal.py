"""A Trainer whose model writes: TRL's SFTTrainer, or transformers' own with a causal language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clbench.data import IGNORE, Example
from clbench.errors import InputError


def base_model(model: Any) -> Any:
    """The model inside PEFT's modules."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def is_causal(model: Any) -> bool:
    """Whether ``model`` is one of transformers' for causal language modelling, which write the next token."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    names = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return any(cls.__name__ in names for cls in type(base_model(model)).__mro__)


@contextmanager
def plain_forward(model: nn.Module) -> Iterator[None]:
    """Inside, a causal model's forward pass is its class's own.

    SFTTrainer puts another in its place that calls the object it was made for. In a copy of the model, such as a
    teacher, it would call the model that goes on learning.
    """
    base = base_model(model)
    forward = vars(base).pop("forward", None) if is_causal(base) else None
    try:
        yield
    finally:
        if forward is not None:
            base.forward = forward


def next_tokens(labels: Tensor) -> Tensor:
    """transformers' labels (tokens,), of each token itself, as clbench's: at each token the one to write next."""
    return torch.cat([labels[1:], labels.new_full((1,), IGNORE)])


def own_tokens(labels: Tensor) -> Tensor:
    """Back again: (rows, tokens) of the ones to write next as transformers' labels, of each token itself."""
    return torch.cat([labels.new_full((len(labels), 1), IGNORE), labels[:, :-1]], 1)


def with_answers(examples: Sequence[Example], tokenizer: Any) -> list[Example]:
    """``examples`` with the text that their labels spell, under "answer"."""
    written = [example["label"][example["label"] != IGNORE] for example in examples]
    texts = [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written]
    return [{**example, "answer": text} for example, text in zip(examples, texts, strict=True)]


def check_prompts(examples: Sequence[Example], where: str) -> None:
    """Refuse test rows that are no prompt with one answer at the end.

    Args:
        examples: with clbench's labels.
        where: what the error line calls them.

    Raises:
        InputError: names the row.
    """
    allowed = 'rows with a prompt and one answer at its end, as SFTTrainer makes of the columns "prompt", "completion"'
    for number, example in enumerate(examples):
        asked = (example["label"] != IGNORE).tolist()
        first = asked.index(True) if True in asked else 0
        if not first:
            fault = "is learned from its first token on" if True in asked else "has no token that is learned"
            raise InputError(f"{where}: row {number} {fault}, so that there is nothing to ask; allowed: {allowed}")
        if not all(asked[first:-1]):
            raise InputError(f"{where}: row {number} has several answers or goes on after one; allowed: {allowed}")
