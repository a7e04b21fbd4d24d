"""Which test of the model's earlier abilities a run takes: that of the tasks' kind, on data that no task is made of."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from clbench.data import Example
from clbench.kinds import images_tensor, in_shape, tokenise
from clbench.learner import Learner
from clbench.models import load_masked
from clbench.sources import Rows, corpora, general, images
from clbench.tasks import balanced_counts, draw, draw_images
from clbench.tasks.splits import count_labels, deduplicate, same_text
from clbench.toolkit import AbilityTest, feature_accuracy, masked_loss, masked_tokens, next_tokens, token_loss

if TYPE_CHECKING:
    from clbench.plugins import Plan

# Tokens of each of the twelve texts that a language model reads, and of the passages of each that a masked one reads.
WRITING, READING, PASSAGES = 192, 128, 4
# Examples that a probe learns from, and that it is tested on.
PROBED = 500
# Kinds of nouns that WordNet has fewer glosses of are left out.
FEWEST_GLOSSES = 1000
FRACTION = "fraction correct"


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
    splits = _drawn(deduplicate(read(), same_text))
    parts = []
    for rows in splits:
        ids = tokenise([text for text, _ in rows], learner.tokenizer, length)
        labels = [int(label) for _, label in rows]
        parts.append([{"input_ids": i, "label": label, "task_id": 0} for i, label in zip(ids, labels, strict=True)])
    return _probe(name, *parts)


def _glosses() -> Rows:
    """Those of the kinds of nouns that have many."""
    rows = general.glosses()
    counts = count_labels(rows, sorted({kind for _, kind in rows}))
    return [row for row in rows if counts[row[1]] >= FEWEST_GLOSSES]


def _drawn(rows: Rows) -> tuple[Rows, Rows]:
    """Train and test, balanced, always the same; labels as numbers."""
    names = sorted({label for _, label in rows})
    counts = balanced_counts((PROBED, 0, PROBED), count_labels(rows, names))
    train, _, test = draw(rows, counts, random.Random("ability"))
    return [(text, str(names.index(label))) for text, label in train], [
        (text, str(names.index(label))) for text, label in test
    ]


def _seeing(plan: Plan, example: Example) -> AbilityTest:
    """A probe on silhouettes: which animal, or, where the scenario has them, by how many quarters they are turned."""
    turned = "animal-mnist" in plan.sources
    sizes = (PROBED, 0, PROBED)
    train, _, test = draw_images(*images.animals(), range(len(images.ANIMALS)), sizes, random.Random("ability"))
    parts = []
    for split in (train, test):
        pixels, labels = images_tensor(split), list(split["label"][:])
        if turned:
            labels = [number % 4 for number in range(len(pixels))]
            pixels = torch.stack([torch.rot90(i, turns, (1, 2)) for i, turns in zip(pixels, labels, strict=True)])
        pixels = in_shape(pixels, tuple(example["pixel_values"].shape))
        pairs = zip(pixels, labels, strict=True)
        parts.append([{"pixel_values": image, "label": label, "task_id": 0} for image, label in pairs])
    return _probe("turned animals" if turned else "animals", *parts)


def _probe(name: str, train: Sequence[Example], test: Sequence[Example]) -> AbilityTest:
    measure = partial(feature_accuracy, train=train, test=test)
    return AbilityTest(f"probe accuracy on {name}", FRACTION, True, measure)
