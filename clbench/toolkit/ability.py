"""What a model could do before its tasks: a test that no task is made of, taken again after every task.

The model is what answers where no task is at hand: a strategy that switches modules on for a task has them off
(:meth:`clbench.strategy.Strategy.outside_tasks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clbench.data import IGNORE, Example, collate
from clbench.learner import Learner
from clbench.rng import generator
from clbench.strategy import Strategy
from clbench.toolkit.frozen_features import collect_features
from clbench.toolkit.linear_probe import Examples, probe_accuracy
from clbench.toolkit.passes import in_passes

# BERT's (Devlin et al. 2019); here all of them read the mask.
MASKED_SHARE = 0.15


@dataclass(frozen=True)
class AbilityTest:
    """A test of what the model could do before.

    Attributes:
        name: what is measured, such as "loss per token of prose".
        unit: of the values, such as "nats".
        higher_is_better: which way is better.
        measure: the value for the learner's model as it stands, in eval mode.
    """

    name: str
    unit: str
    higher_is_better: bool
    measure: Callable[[Learner], float]


def measure_ability(test: AbilityTest, learner: Learner, strategy: Strategy) -> float:
    """What the model, with nothing on that belongs to one task, reaches in the test."""
    learner.model.eval()
    with torch.inference_mode(), strategy.outside_tasks(learner):
        return test.measure(learner)


def token_loss(learner: Learner, examples: Sequence[Example], model: nn.Module | None = None) -> float:
    """The mean cross-entropy (nats) over all tokens of ``examples`` that have a label.

    Args:
        learner: the model.
        examples: "label" (tokens,) has the token to predict, IGNORE for none.
        model: gives logits (examples, tokens, vocabulary) in the learner's model's place.
    """

    def add_up(batches: Iterable[list[int]]) -> float:
        total = 0.0
        for numbers in batches:
            batch = collate([examples[number] for number in numbers], learner.padding_id, learner.device)
            logits = learner.logits(batch, model or learner.model)
            labels = batch["labels"].flatten()
            losses = nn.functional.cross_entropy(logits.flatten(0, 1), labels, reduction="none", ignore_index=IGNORE)
            total += float(losses.detach().double().sum())
        return total

    return in_passes(learner, examples, add_up) / sum(int((e["label"] != IGNORE).sum()) for e in examples)


def masked_loss(learner: Learner, examples: Sequence[Example], masked: nn.Module) -> float:
    """:func:`token_loss` of the learner's body with the head of a masked language model.

    Args:
        learner: the model.
        examples: from :func:`masked_tokens`.
        masked: transformers' model without its body, see :func:`clbench.models.load_masked`.
    """
    prefix = str(masked.base_model_prefix)
    setattr(masked, prefix, learner.body)
    try:
        return token_loss(learner, examples, masked)
    finally:
        setattr(masked, prefix, None)


def feature_accuracy(learner: Learner, train: Sequence[Example], test: Sequence[Example]) -> float:
    """The share of ``test`` that a linear probe of ``train`` gets right.

    Features are the mean of a text's last token states, or of an image what the output layer reads.
    """
    read = [Examples(*(v.cpu() for v in collect_features(learner, list(e), "mean"))) for e in (train, test)]
    return probe_accuracy(*read)


def next_tokens(texts: Sequence[str], tokenizer: Any, length: int) -> list[Example]:
    """The first ``length`` tokens of each text, each but the last labelled with the next one."""
    given = tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
    return [_example(torch.tensor(ids), torch.tensor([*ids[1:], IGNORE])) for ids in given]


def masked_tokens(texts: Sequence[str], tokenizer: Any, length: int, passages: int) -> list[Example]:
    """The first ``passages`` passages of ``length`` tokens of each text with a share of the words masked, as labels.

    Which ones is drawn, the same for every run.
    """
    stream = generator(0, "masked words")
    examples = []
    for text in texts:
        given = tokenizer(
            [text],
            truncation=True,
            max_length=length,
            return_overflowing_tokens=True,
            return_special_tokens_mask=True,
        )
        for ids, special in list(zip(given["input_ids"], given["special_tokens_mask"], strict=True))[:passages]:
            hidden = (torch.rand(len(ids), generator=stream) < MASKED_SHARE) & ~torch.tensor(special).bool()
            tokens = torch.tensor(ids)
            read, labels = tokens.masked_fill(hidden, tokenizer.mask_token_id), tokens.masked_fill(~hidden, IGNORE)
            examples.append(_example(read, labels))
    return examples


def _example(ids: Tensor, labels: Tensor) -> Example:
    return {"input_ids": ids, "label": labels, "task_id": 0}
