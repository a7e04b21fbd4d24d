"""Sentences with a tag for every word: the columns "tokens" (list of str) and "tags" (list of int); entity-level F1.

Where tags are in BIO ("O", "B-person", "I-person") the measure is the F1 score of whole entities by seqeval's strict
rules, with the words' accuracy beside it; for plain tags, such as parts of speech, a task says
``measure="token_accuracy"``. A word is scored by its first token; a word cut off at ``max_length`` counts as answered
"O", which is wrong unless it is right.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clbench.data import IGNORE, Example
from clbench.errors import InputError
from clbench.kinds.asked import Code, Limits
from clbench.kinds.base import Encoded, Kind, Part, with_column
from clbench.kinds.measures import BIO_MEASURE
from clbench.text import same_text

if TYPE_CHECKING:
    import datasets

OUTSIDE = "O"
TOKENS = (
    "inputs = AutoTokenizer.from_pretrained(folder)(  # sentences: lists of words",
    '    sentences, is_split_into_words=True, padding=True, truncation=True, return_tensors="pt"',
    ")",
)


class Token(Kind):
    """A model reads a sentence and answers with a tag for each word."""

    name = "token"
    noun = "sentence"
    columns = ("tokens", "tags")
    auto_class = "AutoModelForTokenClassification"
    measures = ("entity_f1", "token_accuracy")
    beside = "token_accuracy"
    common_labels = (OUTSIDE,)
    complete = False
    ability = "reading"
    deployable = True
    pipeline = "token-classification"
    adapter_task = "TOKEN_CLS"
    asked_in = ("tokens", "words", "text", "sentence")
    asked_example = "the words of a sentence"
    answered_as = "tags"

    def check_labels(self, labels: Sequence[str], measure: str, where: str) -> None:
        """Tags hold no white space, and are in BIO where entities are measured."""
        if spaced := [label for label in labels if len(label.split()) != 1]:
            raise InputError(f"{where} has the tag {spaced[0]!r}; allowed: names without white space")
        plain = [label for label in labels if label != OUTSIDE and not (label[:2] in ("B-", "I-") and label[2:])]
        if plain and measure == BIO_MEASURE:
            raise InputError(
                f"{where}: the tag {plain[0]!r} is not in BIO; allowed for {BIO_MEASURE}: O, B-TYPE, I-TYPE, or "
                "measure='token_accuracy' for plain tags"
            )

    def check(self, data: datasets.Dataset, labels: Sequence[str], where: str) -> None:
        """As many tags as words, and no word is empty."""
        for row, (tokens, tags) in enumerate(zip(data["tokens"][:], data["tags"][:], strict=True)):
            if not isinstance(tokens, list) or not all(isinstance(token, str) and token.strip() for token in tokens):
                raise InputError(f"{where} has in row {row} words that are no list of strings with something in them")
            if len(tokens) != len(tags) or not tokens:
                raise InputError(
                    f"{where} has in row {row} {len(tokens)} words and {len(tags)} tags; allowed: a tag a word"
                )

    def labels_in(self, data: datasets.Dataset) -> set[Any]:
        """Every tag that a word has."""
        return {tag for tags in data["tags"][:] for tag in tags}

    def strata(self, data: datasets.Dataset) -> list[int]:
        """All alike."""
        return [0] * len(data)

    def contents(self, data: datasets.Dataset) -> list[Hashable]:
        """The words, whatever their case."""
        return [same_text(" ".join(tokens)) for tokens in data["tokens"][:]]

    def with_other_answers(self, data: datasets.Dataset, labels: Sequence[str]) -> datasets.Dataset:
        """Every tag moved on by one."""
        return with_column(data, "tags", [[(tag + 1) % len(labels) for tag in tags] for tags in data["tags"][:]])

    def with_other_inputs(self, data: datasets.Dataset) -> datasets.Dataset:
        """The words turned round."""
        return with_column(data, "tokens", [list(reversed(tokens)) for tokens in data["tokens"][:]])

    def texts(self, data: datasets.Dataset) -> list[str]:
        """The words as sentences."""
        return [" ".join(tokens) for tokens in data["tokens"][:]]

    def encode(self, parts: Sequence[Part], tokenizer: Any, max_length: int) -> Encoded:
        """Token ids under "input_ids"; "label" (tokens,) has the column of each word's tag at its first token."""
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(
                f"{type(tokenizer).__name__} tells no word from another; allowed: a model with a fast tokenizer"
            )
        examples, cut, sentences = [], 0, 0
        for part in parts:
            words = part.data["tokens"][:]
            given = tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_length)
            own: list[Example] = []
            for row, (ids, tags) in enumerate(zip(given["input_ids"], part.data["tags"][:], strict=True)):
                label = _first_tokens(given.word_ids(row), [part.columns[tag] for tag in tags])
                answer = " ".join(part.labels[tag] for tag in tags)
                kept = {"input_ids": torch.tensor(ids), "label": label, "answer": answer}
                own.append({**kept, "task_id": part.position})
                cut += int((label != IGNORE).sum()) < len(tags)
            examples.append(own)
            sentences += len(own)
        told = f"{cut} of {sentences} sentences lose words at {max_length} tokens, which count as answered {OUTSIDE}"
        return Encoded(examples, (told,) if cut else ())

    def question(self, example: Example) -> Example:
        """The words; where each begins is known, and nothing of its tag."""
        return {**example, "label": torch.full_like(example["label"], IGNORE)}

    def read(
        self, answer: Any, confidence: Any, example: Example, names: Sequence[str], tokenizer: Any
    ) -> tuple[str, float]:
        """The words' tags, separated by spaces, and the mean of their probabilities."""
        starts = [place for place, label in enumerate(example["label"].tolist()) if label != IGNORE]
        tags = [names[answer[place]] for place in starts]
        tags += [OUTSIDE] * (len(self.truth(example).split()) - len(tags))
        sure = [confidence[place] for place in starts]
        return " ".join(tags), sum(sure) / len(sure) if sure else 0.0

    def truth(self, example: Example) -> str:
        """The words' tags, separated by spaces."""
        return str(example["answer"])

    def read_input(self, given: Any, where: str, limits: Limits) -> list[str]:
        """Words: a list, a JSON list, or a text with blanks between them."""
        words = given
        if isinstance(given, str):
            words = _listed(given) or given.split()
        elif isinstance(given, Iterable):  # what a table gives
            words = list(given)
        if not isinstance(words, list) or not words or not all(isinstance(w, str) and w.strip() for w in words):
            raise InputError(
                f"{where} holds no words but {given!r}; allowed: words with blanks between, or a JSON list"
            )
        return words

    def ask(self, inputs: Sequence[Any], tokenizer: Any, limits: Limits) -> list[Example]:
        """Token ids, and where each word begins."""
        given = tokenizer(list(inputs), is_split_into_words=True, truncation=True, max_length=limits.max_length)
        examples: list[Example] = []
        for row, (ids, words) in enumerate(zip(given["input_ids"], inputs, strict=True)):
            label = _first_tokens(given.word_ids(row), [0] * len(words))
            unknown = " ".join([OUTSIDE] * len(words))  # as many tags as words will be read
            examples.append({"input_ids": torch.tensor(ids), "label": label, "answer": unknown})
        return examples

    def columns_of(self, answer: Any, example: Example) -> set[int]:
        """Those of all words' tags."""
        return {answer[place] for place, label in enumerate(example["label"].tolist()) if label != IGNORE}

    def spell(self, answer: Any, names: Sequence[str]) -> list[str]:
        """A tag for each word."""
        return str(answer).split()

    def input_code(self, limits: Limits) -> Code:
        """The tokenizer keeps which word a token is of."""
        return Code((), ("AutoTokenizer",), TOKENS)

    def limit_told(self, limits: Limits) -> str:
        """A word is answered at its first token."""
        return (
            f"A word's tag is that of its first token; sentences are cut at {limits.max_length} tokens, and words "
            f"beyond count as {OUTSIDE}"
        )


def _listed(text: str) -> list[str] | None:
    """The strings of a JSON list; None where the text is none, and so is words."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else None


def _first_tokens(words: Sequence[int | None], columns: Sequence[int]) -> Tensor:
    """For each token (tokens,) the column of the word that it begins, ``IGNORE`` where it begins none."""
    begins = [word is not None and word != before for word, before in zip(words, [None, *words], strict=False)]
    found = [columns[word] if new and word is not None else IGNORE for word, new in zip(words, begins, strict=True)]
    return torch.tensor(found)
