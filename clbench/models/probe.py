"""What a loaded model is asked with short made-up texts: its output layer, its positions, what padding does to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clbench.data import pad_left

# Padding moves sums by rounding only; a model that reads it moves by more than this share of its largest logit.
ROUNDING = 1e-3


class ProbeTexts:
    """Made-up texts for a model: words of its vocabulary between the special tokens that its tokenizer adds."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.special: list[int] = list(tokenizer("")["input_ids"])
        reserved, rows = set(tokenizer.all_special_ids), model.get_input_embeddings().num_embeddings
        ordinary = (number for number in range(min(rows, len(tokenizer))) if number not in reserved)
        self.words = list(itertools.islice(ordinary, 16))

    def text(self, words: int, *, same: bool = False) -> Tensor:
        """The ids (tokens,) of a text of ``words`` words, which are all different unless ``same``."""
        source = itertools.repeat(self.words[0]) if same else itertools.cycle(self.words)
        # Between the special tokens: some models find a text's end by its last one.
        start = 1 if len(self.special) > 1 else 0
        return torch.tensor([*self.special[:start], *itertools.islice(source, words), *self.special[start:]])

    def inputs(self) -> dict[str, Tensor]:
        """A model's keyword arguments for one text."""
        text = self.text(4)[None]
        return {"input_ids": text, "attention_mask": torch.ones_like(text)}


@torch.no_grad()
def logits_of(model: nn.Module, texts: Iterable[Tensor], padding_id: int = 0, side: str = "right") -> Tensor:
    """Logits (texts, labels) of token ids, padded on ``side``, or (texts, tokens, outputs)."""
    rows = list(texts)
    device = next(model.parameters()).device
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding_id).to(device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = (torch.arange(ids.shape[1], device=device)[None] < lengths[:, None]).long()
    inputs = {"input_ids": ids, "attention_mask": mask}
    logits: Tensor = model(**(pad_left(inputs) if side == "left" else inputs)).logits
    return logits


def find_output_layer(model: nn.Module, labels: int, texts: ProbeTexts) -> str:
    """The name of the linear layer whose output the logits are, or are taken from.

    Raises:
        ValueError: there is none.
    """
    return answering_layer(model, labels, lambda: logits_of(model, [texts.text(4)]))


def answering_layer(model: nn.Module, labels: int, forward: Callable[[], Tensor]) -> str:
    """The same, where ``forward`` gives the logits (1, labels) of one example."""
    given: list[tuple[str, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: given.append((name, output)))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == labels
    ]
    try:
        logits = forward()
    finally:
        for hook in hooks:
            hook.remove()
    if len(logits) == 1 and logits.shape[-1] == labels:
        for name, output in reversed(given):
            if (output.reshape(-1, labels) == logits.reshape(-1, labels)[-1]).all(-1).any():
                return name
    raise ValueError(f"its logits {tuple(logits.shape)} are not the output of a linear layer with {labels} outputs")


class Lookups(TorchFunctionMode):
    """Notes how many numbers each embedding was looked up with, the largest, and the table's rows."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int, int]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.embedding:
            numbers, table = args[:2]
            self.seen.append((numbers.numel(), int(numbers.max()), len(table)))
        return func(*args, **(kwargs or {}))


def count_positions(model: Any, texts: ProbeTexts) -> int | None:
    """How many tokens the model has positions for; None where nothing limits them.

    A table of positions is one in which a longer text of the same word reaches further; what comes first in it may be
    reserved, as in RoBERTa. A model without a table may declare how long its texts can be.
    """
    short, long = texts.text(4, same=True), texts.text(7, same=True)
    with Lookups() as first:
        logits_of(model, [short])
    with Lookups() as second:
        logits_of(model, [long])
    tables = [
        rows - (last + 1 - len(long))
        for (count, before, _), (longer, last, rows) in zip(first.seen, second.seen, strict=True)
        if count == len(short) and longer == len(long) and last - before == len(long) - len(short)
    ]
    declared = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if isinstance(declared, int) and declared > 0:  # XLNet says -1
        tables.append(declared)
    return min(tables, default=None)


def same_logits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of logits differ by rounding only."""
    return float((one - other).abs().max()) <= ROUNDING * float(other.abs().max())


def find_padding_side(model: nn.Module, texts: ProbeTexts, padding_id: int) -> str:
    """Where padding changes no logit: "right", or "left" where only that is so.

    Raises:
        ValueError: padding changes the logits on either side.
    """
    text, longer = texts.text(5), texts.text(9)
    alone = logits_of(model, [text])[0]
    for side in ("right", "left"):
        beside = logits_of(model, [text, longer], padding_id, side)[0]
        if alone.ndim == 2:  # an answer a token: padding on the left would move them
            beside = beside[: len(alone)]
        if same_logits(beside, alone):
            return side
        if alone.ndim == 2:
            break
    raise ValueError("padding changes its answers, so that they would depend on the other texts of a batch")
