"""Which test of the model's earlier abilities a run takes: that of the tasks' kind, on data that no task is made of."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clbench.data import Example
from clbench.kinds import images_tensor, in_shape, tokenise
from clbench.learner import Learner
from clbench.models import load_masked
from clbench.sources import Rows, corpora, general, images
from clbench.tasks import draw_images, splits
from clbench.toolkit import AbilityTest, feature_accuracy, masked_loss, masked_tokens, next_tokens, token_loss

if TYPE_CHECKING:
    from clbench.plugins import Plan

# Tokens of each of the twelve texts that a language model reads, and of the passages of each that a masked one reads.
WRITING, READING, PASSAGES = 192, 128, 4
# Examples that a probe learns from, and that it is tested on.
PROBED = 500
# Kinds of nouns that WordNet has fewer glosses of are left out.
FEWEST_GLOSSES = 1000


def ability_test(plan: Plan, learner: Learner, example: Example) -> AbilityTest:
    """The test for the plan's kind of task; fetches its data.

    Args:
        plan: the run's; a collection that its scenario reads is not asked about.
        learner: with the model as it came.
        example: one of the run's, whose shape images are brought to.
    """
    makers: dict[str, Callable[[], AbilityTest]] = {
        "writing": partial(_writing, learner),
        "reading": partial(_reading, plan, learner),
        "seeing": partial(_seeing, plan, example),
    }
    return makers[learner.kind.ability]()


def _writing(learner: Learner) -> AbilityTest:
    """The loss of a language model on prose."""
    examples = next_tokens(general.prose(), learner.tokenizer, min(WRITING, learner.positions or WRITING))
    return AbilityTest("loss per token of prose", "nats", False, partial(token_loss, examples=examples))


def _reading(plan: Plan, learner: Learner) -> AbilityTest:
    """The loss on masked words of prose where the checkpoint has a head for them, else a probe on short texts."""
    masked = load_masked(plan.config, learner.device) if learner.tokenizer.mask_token_id is not None else None
    length = min(READING, learner.positions or READING)
    if masked is not None:
        examples = masked_tokens(general.prose(), learner.tokenizer, length, PASSAGES)
        measure = partial(masked_loss, examples=examples, masked=masked)
        return AbilityTest("loss per masked token of prose", "nats", False, measure)
    name, read = ("movie reviews", corpora.movie) if "wordnet" in plan.sources else ("glosses", _glosses)
    rows = splits.deduplicate(read(), splits.same_text)
    names = sorted({label for _, label in rows})
    counts = splits.balanced_counts((PROBED, 0, PROBED), splits.count_labels(rows, names))
    train, _, test = splits.draw(rows, counts, _stream())
    parts = []
    for part in (train, test):
        ids = tokenise([text for text, _ in part], learner.tokenizer, length)
        parts.append(_examples("input_ids", ids, [names.index(label) for _, label in part]))
    return _probe(name, *parts)


def _glosses() -> Rows:
    """Those of the kinds of nouns that have many."""
    rows = general.glosses()
    counts = splits.count_labels(rows, sorted({kind for _, kind in rows}))
    return [row for row in rows if counts[row[1]] >= FEWEST_GLOSSES]


def _seeing(plan: Plan, example: Example) -> AbilityTest:
    """A probe on silhouettes: which animal, or, where the scenario has them, by how many quarters they are turned."""
    turned = "animal-mnist" in plan.sources
    sizes = (PROBED, 0, PROBED)
    train, _, test = draw_images(*images.animals(), range(len(images.ANIMALS)), sizes, _stream())
    parts = []
    for split in (train, test):
        pixels, labels = images_tensor(split), list(split["label"][:])
        if turned:
            labels = [number % 4 for number in range(len(pixels))]
            pixels = torch.stack([torch.rot90(i, turns, (1, 2)) for i, turns in zip(pixels, labels, strict=True)])
        parts.append(_examples("pixel_values", in_shape(pixels, tuple(example["pixel_values"].shape)), labels))
    return _probe("turned animals" if turned else "animals", *parts)


def _stream() -> random.Random:
    """What draws the examples: the same ones in every run."""
    return random.Random("ability")


def _examples(key: str, values: Iterable[Tensor], labels: Sequence[int]) -> list[Example]:
    return [{key: value, "label": label, "task_id": 0} for value, label in zip(values, labels, strict=True)]


def _probe(name: str, train: Sequence[Example], test: Sequence[Example]) -> AbilityTest:
    measure = partial(feature_accuracy, train=train, test=test)
    return AbilityTest(f"probe accuracy on {name}", "fraction correct", True, measure)
