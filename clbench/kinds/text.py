"""Texts with one label each: the columns "text" (str) and "label", and "text_pair" (str) for pairs; accuracy."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from clbench.data import Example
from clbench.kinds.base import Encoded, Part, check_strings
from clbench.kinds.labelled import Labelled, labelled_examples
from clbench.kinds.tokens import count_cut, encode_texts, parts_pairs, whole_lengths
from clbench.text import TextOrPair, same_content

if TYPE_CHECKING:
    import datasets


class Text(Labelled):
    """A model reads a text, or a text and its pair, and answers with one of the labels."""

    name = "text"
    noun = "text"
    columns = ("text", "label")
    optional = ("text_pair",)
    deployable = True
    ability = "reading"

    def check(self, data: datasets.Dataset, labels: Sequence[str], where: str) -> None:
        """Texts are strings."""
        check_strings(data, "text", where)
        if "text_pair" in data.column_names:
            check_strings(data, "text_pair", where)

    def contents(self, data: datasets.Dataset) -> list[Hashable]:
        """A reader would call them the same."""
        return [same_content(content) for content in texts_in(data)]

    def texts(self, data: datasets.Dataset) -> list[str]:
        """All texts, and then all that are read after them."""
        return [*data["text"][:], *(data["text_pair"][:] if "text_pair" in data.column_names else ())]

    def encode(self, parts: Sequence[Part], tokenizer: Any, max_length: int) -> Encoded:
        """Token ids (tokens,) under "input_ids", cut at ``max_length``; see :func:`clbench.kinds.encode_texts`."""
        texts = [texts_in(part.data) for part in parts]
        found = encode_texts([text for own in texts for text in own], tokenizer, max_length)
        features = iter(found)
        examples = [labelled_examples(p, [next(features) for _ in own]) for p, own in zip(parts, texts, strict=True)]
        joined = "text_pair" in parts[0].data.column_names and not parts_pairs(tokenizer)
        told = "the tokenizer puts nothing between a text and its text_pair: they are read as one text"
        return Encoded(examples, (told,) if joined else ())

    def count_cuts(
        self, parts: Sequence[Part], examples: Sequence[Sequence[Example]], tokenizer: Any, max_length: int
    ) -> list[str]:
        """How many texts are longer than ``max_length`` tokens; nothing where none is."""
        texts = [text for part in parts for text in texts_in(part.data)]
        ids = [example["input_ids"] for own in examples for example in own]
        lengths = whole_lengths(texts, ids, tokenizer, max_length)
        return [count_cut(lengths, max_length)] if max(lengths) > max_length else []


def texts_in(data: datasets.Dataset) -> list[TextOrPair]:
    """The text of each row of a split, or the pair of texts."""
    if "text_pair" not in data.column_names:
        return list(data["text"][:])
    return list(zip(data["text"][:], data["text_pair"][:], strict=True))
