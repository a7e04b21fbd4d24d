"""Augmentation: each training text also comes as copies in which a few words are dropped, swapped or replaced.

Wei & Zou 2019, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks": of a
text of n words a copy changes max(1, rate · n) by one operation: random deletion, random swap of two words, or synonyms
from WordNet. The label stays. Not as in the paper: no random insertion, and deletion takes exactly so many words.
WordNet's nouns alone are at hand (3.1), of whatever sense; a copy with no such noun swaps words instead, and the log
counts those.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping

import datasets

from clbench import Learner, Strategy, Task
from clbench.errors import InputError, unknown
from clbench.toolkit import Range, sources, stream_seed

METHODS = ("drop", "swap", "synonym")
Synonyms = Mapping[str, list[str]]


class Augment(Strategy):
    """Copies make a task's epochs longer. A text of one word has no copies but of its synonyms.

    Args:
        copies: of each text, 1 or more; not tuned.
        rate: the share of its words that a copy changes, above 0 and below 1; the paper's.
        methods: of "drop", "swap" and "synonym", one of which is drawn for each copy; synonyms need the data of
            wordnet_class (`clbench data pull wordnet`).
    """

    is_recipe = True
    kinds = ("text",)
    hook_phases = {"examples": "augment"}
    search_spaces = {"rate": Range(0.05, 0.5)}

    def __init__(self, copies: int = 1, rate: float = 0.1, methods: tuple[str, ...] = ("drop", "swap")) -> None:
        if copies < 1:
            raise InputError(f"augment: {copies=}; allowed: 1 or more")
        if not 0 < rate < 1:
            raise InputError(f"augment: {rate=}; allowed: above 0 and below 1")
        for method in methods:
            if method not in METHODS:
                raise unknown("method of augment:", method, METHODS)
        if not methods:
            raise InputError(f"augment: methods=(); allowed: one or more of {', '.join(METHODS)}")
        self.copies, self.rate, self.methods = copies, rate, methods
        self.synonyms: Synonyms = {}

    def examples(self, learner: Learner, task: Task, rows: datasets.Dataset) -> datasets.Dataset:
        """The rows and their copies; copies that came out unchanged are left away."""
        if "synonym" in self.methods and not self.synonyms:
            self.synonyms = noun_synonyms()
        draw = random.Random(stream_seed(learner.seed, "augment", task.name))
        texts = rows["text"][:]
        kept, changed, instead = [], [], 0
        for number, text in enumerate(texts):
            for _ in range(self.copies):
                copy, swapped = self._copy(text.split(), draw)
                instead += swapped
                if copy != text.split():
                    kept.append(number)
                    changed.append(" ".join(copy))
        text = f"augment: {len(changed)} copies of {len(texts)} texts of {task.name}"
        text += f", {instead} of them with swaps for want of a synonym" if instead else ""
        counts = {"rows": len(texts), "copies": len(changed), "swaps_for_synonyms": instead}
        learner.note("augment", task=task.name, **counts, text=text)
        if not changed:
            return rows
        copies = rows.select(kept).remove_columns("text").add_column("text", changed)
        return datasets.concatenate_datasets([rows, copies.select_columns(rows.column_names).cast(rows.features)])

    def _copy(self, words: list[str], draw: random.Random) -> tuple[list[str], bool]:
        """A changed copy, and whether it was swapped for want of a synonym."""
        count = max(1, round(self.rate * len(words)))
        method = draw.choice(self.methods)
        if method == "synonym":
            places = [place for place, word in enumerate(words) if word.lower() in self.synonyms]
            if places:
                return replaced(words, draw.sample(places, min(count, len(places))), self.synonyms, draw.choice), False
        change = dropped if method == "drop" else swapped
        return change(words, count, draw), method == "synonym"


def dropped(words: list[str], count: int, draw: random.Random) -> list[str]:
    """``words`` without ``count`` of them; at least one is left."""
    gone = set(draw.sample(range(len(words)), min(count, max(0, len(words) - 1))))
    return [word for place, word in enumerate(words) if place not in gone]


def swapped(words: list[str], count: int, draw: random.Random) -> list[str]:
    """``words`` in which ``count`` times two change places."""
    words = list(words)
    for _ in range(count if len(words) > 1 else 0):
        one, other = draw.sample(range(len(words)), 2)
        words[one], words[other] = words[other], words[one]
    return words


def replaced(words: list[str], places: list[int], synonyms: Synonyms, choose: Callable[[list[str]], str]) -> list[str]:
    """``words`` with synonyms at ``places``."""
    return [choose(synonyms[word.lower()]) if place in places else word for place, word in enumerate(words)]


def noun_synonyms() -> dict[str, list[str]]:
    """Of each noun of WordNet that has any, the other words of its synsets, in alphabetical order.

    A line of data.noun (WordNet's wndb(5)) has offset, lexicographer file, type, the number of words in hexadecimal
    digits, then each word, with _ for a space, and a number. The lines of the licence begin with two spaces.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for line in sources.read("wordnet", "data.noun").decode("utf-8").splitlines():
        if line.startswith("  "):
            continue
        fields = line.split(" ")
        words = [word.replace("_", " ").lower() for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]
        for word in words:
            found[word].update(other for other in words if other != word)
    return {word: sorted(others) for word, others in found.items() if others}
