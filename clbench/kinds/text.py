"""Texts with one label each: the columns "text" (str) and "label"; accuracy."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from clbench.data import Example
from clbench.kinds.asked import Code, Limits
from clbench.kinds.base import Encoded, Part, check_strings
from clbench.kinds.labelled import Labelled, labelled_examples
from clbench.kinds.tokens import count_cut, tokenise, whole_lengths
from clbench.text import same_text

if TYPE_CHECKING:
    import datasets

TOKENS = 'inputs = AutoTokenizer.from_pretrained(folder)(texts, padding=True, truncation=True, return_tensors="pt")'


class Text(Labelled):
    """A model reads a text and answers with one of the labels."""

    name = "text"
    noun = "text"
    columns = ("text", "label")
    ability = "reading"
    deployable = True
    pipeline = "text-classification"
    adapter_task = "SEQ_CLS"
    asked_in = ("text", "sentence", "content", "message")
    asked_example = "a text"

    def check(self, data: datasets.Dataset, labels: Sequence[str], where: str) -> None:
        """Texts are strings."""
        check_strings(data, "text", where)

    def contents(self, data: datasets.Dataset) -> list[Hashable]:
        """A reader would call them the same."""
        return [same_text(text) for text in data["text"][:]]

    def encode(self, parts: Sequence[Part], tokenizer: Any, max_length: int) -> Encoded:
        """Token ids (tokens,) under "input_ids", cut at ``max_length``."""
        texts = [part.data["text"][:] for part in parts]
        ids = iter(tokenise([text for own in texts for text in own], tokenizer, max_length))
        features = [[{"input_ids": next(ids)} for _ in own] for own in texts]
        return Encoded([labelled_examples(part, own) for part, own in zip(parts, features, strict=True)])

    def count_cuts(
        self, parts: Sequence[Part], examples: Sequence[Sequence[Example]], tokenizer: Any, max_length: int
    ) -> list[str]:
        """How many texts are longer than ``max_length`` tokens; nothing where none is."""
        texts = [text for part in parts for text in part.data["text"][:]]
        ids = [example["input_ids"] for own in examples for example in own]
        lengths = whole_lengths(texts, ids, tokenizer, max_length)
        return [count_cut(lengths, max_length)] if max(lengths) > max_length else []

    def ask(self, inputs: Sequence[Any], tokenizer: Any, limits: Limits) -> list[Example]:
        """Token ids, cut as the run cut them."""
        return [{"input_ids": ids, "label": 0} for ids in tokenise(inputs, tokenizer, limits.max_length)]

    def input_code(self, limits: Limits) -> Code:
        """The tokenizer cuts and pads by itself."""
        return Code((), ("AutoTokenizer",), (TOKENS,))
