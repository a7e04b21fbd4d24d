"""Prompts with a written answer: the columns "prompt" (str) and "answer" (str); exact match, ROUGE-L or chrF.

The model learns the answer's tokens and the one that ends it, and answers by greedy decoding: the same at any batch
size but for ties of floating point. No chat template is applied: what a prompt says is all that the model reads.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clbench.data import IGNORE, Batch, Example
from clbench.errors import InputError
from clbench.kinds.asked import Code, Limits
from clbench.kinds.base import Decode, Encoded, Kind, Part, check_strings, with_column
from clbench.text import same_text

if TYPE_CHECKING:
    import datasets

# Of tokens: one, and the one that ends it.
SHORTEST_ANSWER = 2
TOKENS = (
    "tokenizer = AutoTokenizer.from_pretrained(folder)",
    'begin = [token for token in tokenizer("")["input_ids"][:1] if token == tokenizer.bos_token_id]',
    'tokens = [begin + ids for ids in tokenizer(prompts, add_special_tokens=False)["input_ids"]]',
    'inputs = tokenizer.pad({"input_ids": tokens}, return_tensors="pt")  # on the left',
)
WRITING = (
    "written = model.generate(**inputs, max_new_tokens={}, do_sample=False)",
    'written = written[:, inputs["input_ids"].shape[1] :]',
    "answers = [text.strip() for text in tokenizer.batch_decode(written, skip_special_tokens=True)]",
)


class Generation(Kind):
    """A causal model goes on from a prompt; its output layer is over its vocabulary, whatever the task."""

    name = "generation"
    noun = "prompt"
    columns = ("prompt", "answer")
    auto_class = "AutoModelForCausalLM"
    measures = ("exact_match", "rouge_l", "chrf")
    over_labels = False
    complete = False
    ability = "writing"
    deployable = True
    pipeline = "text-generation"
    adapter_task = "CAUSAL_LM"
    asked_in = ("prompt", "text", "question", "instruction")
    asked_example = "a prompt"
    answered_as = "answer"
    writes = True

    def check(self, data: datasets.Dataset, labels: Sequence[str], where: str) -> None:
        """Prompts and answers are strings, none of them empty."""
        for column in self.columns:
            check_strings(data, column, where)
            if empty := [row for row, text in enumerate(data[column][:]) if not text.strip()]:
                raise InputError(f"{where} has in row {empty[0]} an empty {column}; allowed: text")

    def labels_in(self, data: datasets.Dataset) -> set[Any]:
        """None: answers are texts."""
        return set()

    def strata(self, data: datasets.Dataset) -> list[int]:
        """All alike."""
        return [0] * len(data)

    def contents(self, data: datasets.Dataset) -> list[Hashable]:
        """A reader would call the prompts the same."""
        return [same_text(prompt) for prompt in data["prompt"][:]]

    def with_other_answers(self, data: datasets.Dataset, labels: Sequence[str]) -> datasets.Dataset:
        """The answers' letters turned round."""
        return with_column(data, "answer", [answer[::-1] for answer in data["answer"][:]])

    def texts(self, data: datasets.Dataset) -> list[str]:
        """Prompts with their answers."""
        return [f"{p} {a}" for p, a in zip(data["prompt"][:], data["answer"][:], strict=True)]

    def encode(self, parts: Sequence[Part], tokenizer: Any, max_length: int) -> Encoded:
        """Prompt and answer as one text under "input_ids"; "label" (tokens,) has at each token the one to write next.

        Where both together are longer than ``max_length`` the prompt loses its beginning; an answer that is longer
        by itself is cut.
        """
        prompts = [prompt for part in parts for prompt in part.data["prompt"][:]]
        answers = [answer for part in parts for answer in part.data["answer"][:]]
        asked = _opened(tokenizer, prompts)
        # The blank that a prompt does not end with belongs to the answer's first word.
        written = [a.strip() if p[-1:].isspace() else f" {a.strip()}" for p, a in zip(prompts, answers, strict=True)]
        given = tokenizer(written, add_special_tokens=False)["input_ids"]
        positions = [part.position for part in parts for _ in range(len(part.data))]
        rows = iter(zip(asked, given, answers, positions, strict=True))
        cut = {"prompts lose their beginning": 0, "answers lose their end": 0}
        examples = [
            [_example(*next(rows), tokenizer, max_length, cut) for _ in range(len(part.data))] for part in parts
        ]
        told = [f"{n} of {len(prompts)} {what} at {max_length} tokens" for what, n in cut.items() if n]
        return Encoded(examples, tuple(told))

    def question(self, example: Example) -> Example:
        """The prompt alone."""
        start = _answer_start(example["label"])
        ids = example["input_ids"][:start]
        return {**example, "input_ids": ids, "label": torch.full_like(ids, IGNORE), "answer": ""}

    def fisher_losses(self, logits: Tensor, labels: Tensor, whose: str, draws: Tensor) -> Iterator[Tensor]:
        """Given the tokens before it, each token of the true answer is one distribution; "exact" is too many passes."""
        if whose == "exact":
            raise InputError(
                "fisher='exact' goes through every answer, and a vocabulary has too many; allowed: sampled, empirical"
            )
        yield from super().fisher_losses(logits, labels, whose, draws)

    def longest_answer(self, examples: Sequence[Example]) -> int:
        """Tokens of the longest answer among them, with the token that ends it."""
        return max((int((example["label"] != IGNORE).sum()) for example in examples), default=1)

    def answer(self, logits: Tensor, allowed: Tensor, batch: Batch, decode: Decode) -> tuple[Tensor, Tensor]:
        """The tokens written (examples, tokens), and the geometric mean of their probabilities."""
        return decode(batch)

    def read(
        self, answer: Any, confidence: Any, example: Example, names: Sequence[str], tokenizer: Any
    ) -> tuple[str, float]:
        """The answer's text without its end token and without white space around it."""
        return str(tokenizer.decode(answer, skip_special_tokens=True)).strip(), confidence

    def truth(self, example: Example) -> str:
        """The right answer, without white space around it."""
        return str(example["answer"]).strip()

    def read_input(self, given: Any, where: str, limits: Limits) -> str:
        """A prompt that is not empty."""
        prompt: str = super().read_input(given, where, limits)
        if not prompt.strip():
            raise InputError(f"{where} holds an empty prompt; allowed: text")
        return prompt

    def ask(self, inputs: Sequence[Any], tokenizer: Any, limits: Limits) -> list[Example]:
        """The prompt's tokens.

        The run cut a prompt where it and its right answer had no room together. That answer is not known here: room is
        left for the shortest, so that what the run left whole stays whole, and for the longest where the model has no
        position beyond.
        """
        room = limits.max_length - SHORTEST_ANSWER
        if limits.positions is not None:
            room = min(room, limits.positions - limits.longest_answer)
        ids = [torch.tensor(asked[-room:]) for asked in _opened(tokenizer, inputs)]
        return [{"input_ids": own, "label": torch.full_like(own, IGNORE), "answer": ""} for own in ids]

    def columns_of(self, answer: Any, example: Example) -> set[int]:
        """None: the output layer is over the vocabulary."""
        return set()

    def spell(self, answer: Any, names: Sequence[str]) -> str:
        """What was written."""
        return str(answer)

    def input_code(self, limits: Limits) -> Code:
        """What begins a text stands before a prompt, and nothing that ends one stands after it."""
        return Code((), ("AutoTokenizer",), TOKENS, tuple(line.format(limits.longest_answer) for line in WRITING))

    def limit_told(self, limits: Limits) -> str:
        """No template is applied."""
        return (
            "Prompts are read as they are, without a chat template, and lose their beginning where they and their "
            f"answer have more than {limits.max_length} tokens; answers are written greedily, at most "
            f"{limits.longest_answer} tokens"
        )


def _answer_start(label: Tensor) -> int:
    """How many tokens the prompt has: its last one is asked for the answer's first."""
    return int((label != IGNORE).nonzero()[0]) + 1


def _opened(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Each prompt's tokens, with those that the tokenizer puts before a text and none of those after it."""
    first = [token for token in tokenizer("")["input_ids"][:1] if token == tokenizer.bos_token_id]
    return [first + ids for ids in tokenizer(list(prompts), add_special_tokens=False)["input_ids"]]


def _example(
    asked: list[int],
    written: list[int],
    answer: str,
    position: int,
    tokenizer: Any,
    max_length: int,
    cut: dict[str, int],
) -> Example:
    if len(written) + 2 > max_length:  # the end token, and a token to ask with
        cut["answers lose their end"] += 1
        written = written[: max_length - 2]
    written = [*written, tokenizer.eos_token_id]
    room = max_length - len(written)
    if len(asked) > room:
        cut["prompts lose their beginning"] += 1
        asked = asked[-room:]
    ids = torch.tensor([*asked, *written])
    label = torch.full_like(ids, IGNORE)
    label[len(asked) - 1 : -1] = ids[len(asked) :]
    return {"input_ids": ids, "label": label, "answer": answer, "task_id": position}
