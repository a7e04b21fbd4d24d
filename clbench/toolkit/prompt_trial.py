"""Finds out before a run whether a model reads learned vectors before a text, and says why where it does not."""

from __future__ import annotations

import torch
from torch import Tensor

from clbench.errors import InputError
from clbench.learner import Learner
from clbench.models import Lookups, is_out_of_memory, same_logits


def plain_logits(learner: Learner) -> Tensor:
    """The model's logits of a short text, while it reads nothing else.

    Raises:
        InputError: it is not a model for which this module knows the way.
    """
    settings = getattr(learner.model, "config", None)
    if getattr(settings, "is_encoder_decoder", False):
        raise unfit(learner, "it reads a text twice, in an encoder and in a decoder")
    if learner.padding_side == "left":
        raise unfit(learner, "it reads padding before a text, where they would stand")
    return _logits(learner, 2)


def _logits(learner: Learner, *lengths: int) -> Tensor:
    """Logits (texts, labels) of texts of so many tokens each, or (texts, tokens, outputs)."""
    token = 1 if learner.padding_id != 1 else 2
    present = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.where(present, token, learner.padding_id)
    batch = {"input_ids": ids.to(learner.device), "attention_mask": present.long().to(learner.device)}
    learner.model.eval()
    try:
        with torch.no_grad():
            return learner.logits(batch)
    except Exception as error:  # whatever a model's own code raises where it is given what it does not expect
        if is_out_of_memory(error):
            raise
        raise unfit(learner, f"its forward pass wants a text's own tokens alone: {error}") from error


def try_vectors(learner: Learner, plain: Tensor, count: int) -> None:
    """Read texts with the ``count`` vectors, so that a model that does not fit is found before the run.

    Args:
        learner: of the model that reads them.
        plain: what it answered without them.
        count: of them.
    """
    with Lookups() as lookups:
        alone = _logits(learner, 2)
    if torch.equal(alone, plain):
        raise unfit(learner, "its attention does not read them")
    padded = _logits(learner, 2, 5)[:1]
    if learner.precision == "fp32" and not same_logits(padded if padded.ndim == 2 else padded[:, :2], alone):
        raise unfit(learner, "padding changes its answers then")
    takes_positions = any(numbers == 2 + count for numbers, _, _ in lookups.seen)
    longest, positions = learner.longest_text or 2, learner.positions
    if takes_positions and positions is not None and longest + count > positions:
        raise InputError(
            f"{count} vectors before texts of up to {longest} tokens need {longest + count} positions, and "
            f"{type(learner.model).__name__} has {positions}; allowed: --max-length {max(0, positions - count)} or "
            "less, or fewer vectors"
        )


def unfit(learner: Learner, error: Exception | str) -> InputError:
    """The error line for a model that takes no learned vectors, for the reason ``error``."""
    reason = " ".join(str(error).split())[:200]
    return InputError(
        f"{type(learner.model).__name__} takes no learned prompts ({reason}); allowed: transformers' models of text "
        "such as BERT and RoBERTa, Llama and Qwen"
    )
