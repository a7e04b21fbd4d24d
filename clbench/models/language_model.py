"""A pretrained causal language model: its output layer is its own; what cannot write is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from clbench.errors import InputError
from clbench.head import make_head
from clbench.models.pretrained import LoadedModel, fit, read_model, read_settings, read_tokenizer
from clbench.models.probe import ProbeTexts, count_positions, find_padding_side, logits_of, same_logits
from clbench.sources import cannot_load, model_path

if TYPE_CHECKING:
    from clbench.config import RunConfig


def load_language_model(config: RunConfig, device: torch.device) -> LoadedModel:
    """The model ``config.model``, on the CPU; no part of it is new, so that all of it learns at the body's rate.

    Args:
        config: the run's.
        device: where the model will be.

    Raises:
        InputError: it cannot be had, its files are damaged, or it does not write.
    """
    if config.keep_head:
        raise InputError("--keep-head is for models that answer with labels; this scenario wants written answers")
    path = model_path(config.model)
    try:
        tokenizer = read_tokenizer(path, config)
        if tokenizer.eos_token_id is None:
            raise ValueError("its tokenizer has no token that ends a text")
        settings = read_settings(path, config)
        model, loading = read_model(path, config, settings, device, "AutoModelForCausalLM")
        fit(model, tokenizer)
        _check_complete(model, loading)
        texts = ProbeTexts(model, tokenizer)
        _check_causal(model, texts)
        side, positions = find_padding_side(model, texts, tokenizer.pad_token_id), count_positions(model, texts)
        return LoadedModel(model, tokenizer, make_head(model, None), side, positions)
    except InputError:
        raise
    except Exception as error:  # tokenizers and safetensors raise plain Exceptions for damaged files
        raise cannot_load(config.model, error) from error


def _check_complete(model: Any, loading: dict[str, Any]) -> None:
    """Refuse a checkpoint that lacks a weight; one that shares another's values is not lacking."""
    missing = [name for name, _ in model.named_parameters() if name in set(loading["missing_keys"])]
    if missing:
        raise ValueError(
            f"{len(missing)} of its weights are not in the checkpoint, such as {missing[0]}, so that it cannot write"
        )
    if unexpected := sorted(loading["unexpected_keys"]):
        raise ValueError(
            f"{len(unexpected)} weights of the checkpoint match nothing in the model, such as {unexpected[0]}"
        )


def _check_causal(model: Any, texts: ProbeTexts) -> None:
    """Refuse a model that reads what comes after a token: it knows the answer that it is to write."""
    text = texts.text(6)
    whole, begun = logits_of(model, [text])[0], logits_of(model, [text[:-2]])[0]
    if not same_logits(whole[: len(begun)], begun):
        raise ValueError("it reads what comes after a token, so that it cannot write; allowed: causal language models")
