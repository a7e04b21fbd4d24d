"""Kind: all that a kind of task is, in one place. The engine, evaluator, learner, checks and strategies ask it.

A kind of one's own is a subclass; its tasks say ``Task(kind=MyKind(), ...)``. :class:`Kind` itself does what answers
over labels share, one answer an example or several; a subclass says what the columns are, how they become examples,
and which of the methods below differ.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from clbench.data import IGNORE, Batch, Example, collate
from clbench.errors import InputError
from clbench.kinds.asked import Asked
from clbench.kinds.measures import measure_answers, score_by_chance

if TYPE_CHECKING:
    import datasets

ABILITIES = ("writing", "reading", "seeing")
Decode = Callable[[Batch], tuple[Tensor, Tensor]]
"""What continues each text of a batch: token ids (examples, new tokens) and their mean probability (examples,)."""


class Part(NamedTuple):
    """A split of a task: its rows, its labels and their columns of the output layer, the task's position."""

    data: datasets.Dataset
    labels: tuple[str, ...]
    columns: tuple[int, ...]
    position: int


class Encoded(NamedTuple):
    """The examples of each part, and what a person should know of the encoding, such as what was cut."""

    examples: list[list[Example]]
    notes: tuple[str, ...] = ()


class Kind(Asked):
    """Base of every kind of task.

    Class attributes:
        name: as tasks and strategies name it.
        noun: what one example is called.
        columns: those that every split has, what the model reads first.
        optional: columns that a split may have beside them: those of all tasks, or none.
        auto_class: transformers' class that loads its models.
        measures: names of what a task may be measured by, values in 0..1 or below for worse than nothing; the first is
            the default.
        beside: a second measure that is recorded beside it; empty for none.
        over_labels: whether the output layer has a column a label of the scenario, so that the setting masks them.
        common_labels: labels that mean the same in every task, also where tasks' labels differ.
        complete: whether every label must stand in train and in test, unless a task says that it is incomplete.
        ability: what ``--ability`` asks of its models beside the tasks, one of ABILITIES; empty for nothing.

    What a kept model is asked and answers is in :class:`clbench.kinds.asked.Asked`, which it is, too.
    """

    name: ClassVar[str]
    noun: ClassVar[str] = "example"
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    optional: ClassVar[tuple[str, ...]] = ()
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    measures: ClassVar[tuple[str, ...]] = ("accuracy",)
    beside: ClassVar[str] = ""
    over_labels: ClassVar[bool] = True
    common_labels: ClassVar[tuple[str, ...]] = ()
    complete: ClassVar[bool] = True
    ability: ClassVar[str] = ""

    def __str__(self) -> str:
        return self.name

    # What a split holds.

    def check_labels(self, labels: Sequence[str], measure: str, where: str) -> None:
        """Refuse names of labels that cannot be; ``measure`` is the task's, ``where`` names the task.

        Raises:
            InputError: names the first.
        """

    def check(self, data: datasets.Dataset, labels: Sequence[str], where: str) -> None:
        """Refuse rows that cannot be used; ``where`` names the task and split.

        Raises:
            InputError: names the first flaw.
        """

    def labels_in(self, data: datasets.Dataset) -> set[Any]:
        """The different labels of a split: indices into the task's labels; none for a kind without labels."""
        return set(data["label"][:])

    def strata(self, data: datasets.Dataset) -> list[int]:
        """A number for each row; ``--limit`` takes equally many rows of each number."""
        return list(data["label"][:])

    def contents(self, data: datasets.Dataset) -> list[Hashable]:
        """What makes two examples the same, for each row: no example may stand in two splits."""
        return list(data[self.columns[0]][:])

    def identities(self, data: datasets.Dataset) -> Iterator[bytes]:
        """All that each row says, answer and all: the hash of a task's data is over it."""
        columns = (*self.columns, *(column for column in self.optional if column in data.column_names))
        rows = data[:]
        for row in zip(*(rows[column] for column in columns), strict=True):
            yield repr(row).encode("utf-8", "surrogatepass")

    def texts(self, data: datasets.Dataset) -> list[str]:
        """What a tokenizer that is made on the spot learns its words from."""
        return list(data[self.columns[0]][:])

    def with_other_answers(self, data: datasets.Dataset, labels: Sequence[str]) -> datasets.Dataset:
        """The same questions with wrong answers; conformance checks that no strategy looks at the right ones."""
        return with_column(data, "label", [(label + 1) % len(labels) for label in data["label"][:]])

    def with_other_inputs(self, data: datasets.Dataset) -> datasets.Dataset:
        """As many other questions of the same shape; conformance checks that no strategy trains on the test split."""
        texts = [" ".join(reversed(text.split())) for text in data[self.columns[0]][:]]
        return with_column(data, self.columns[0], texts)

    # From rows to batches.

    def encode(self, parts: Sequence[Part], tokenizer: Any, max_length: int) -> Encoded:
        """The examples of every part.

        An example holds what the model reads, "label" (a number, or a tensor with ``IGNORE`` where no answer is) and
        "task_id"; beside them strings under other keys, which no batch holds.

        Args:
            parts: every split that the run reads, of every task.
            tokenizer: the model's; None for images.
            max_length: in tokens.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define encode()")

    def count_cuts(
        self, parts: Sequence[Part], examples: Sequence[Sequence[Example]], tokenizer: Any, max_length: int
    ) -> list[str]:
        """Lines on what :meth:`encode` cut and did not say; asked of data whose lengths nobody knows beforehand.

        Args:
            parts, tokenizer, max_length: what ``encode`` was given.
            examples: those that it made of each part.
        """
        return []

    def collate(self, examples: Sequence[Example], padding_id: int, device: torch.device) -> Batch:
        """``examples`` as a batch on ``device``."""
        return collate(examples, padding_id, device)

    def question(self, example: Example) -> Example:
        """``example`` as it is put to the model in an evaluation; nothing of the answer may be in it."""
        return example

    def longest_answer(self, examples: Sequence[Example]) -> int:
        """How many tokens an answer to such questions may have; 0 where none is written."""
        return 0

    # Training.

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What training minimises, of each example (examples,): the mean over its answers.

        Args:
            logits: (examples, outputs) or (examples, tokens, outputs), −inf where an output is no candidate.
            labels: (examples,) or (examples, tokens).
        """
        if logits.ndim == 2:
            return nn.functional.cross_entropy(logits, labels, reduction="none")
        each = nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), reduction="none", ignore_index=IGNORE
        )
        return each.view(labels.shape).sum(1) / (labels != IGNORE).sum(1).clamp(min=1)

    def draws(self, example: Example) -> int:
        """How many random numbers a sampled answer to ``example`` takes."""
        return len(example["label"]) if isinstance(example["label"], Tensor) else 1

    def fisher_losses(self, logits: Tensor, labels: Tensor, whose: str, draws: Tensor) -> Iterator[Tensor]:
        """Negative log-likelihoods (examples,) of whole answers, whose squared gradients sum to the Fisher information.

        An example with several answers has one likelihood, their product: it is squared as a whole, not an answer at
        a time. Given what it reads the answers are independent, so that ``exact`` may go through them one by one:
        the mixed terms of the expectation are 0.

        Args:
            logits: as in :meth:`losses`.
            labels: the true ones.
            whose: "sampled" or "empirical": one set of losses; "exact": several, each times the root of its p.
            draws: numbers in 0..1 of the shape of ``labels``, from which "sampled" takes its labels.
        """
        log_probabilities = logits.log_softmax(-1)
        probabilities = log_probabilities.detach().exp()
        if whose == "exact":
            yield from _expected(log_probabilities, probabilities, labels)
            return
        chosen = _sample(probabilities, draws) if whose == "sampled" else labels
        if labels.ndim == 1:
            yield -log_probabilities.gather(-1, chosen[:, None]).squeeze(-1)
            return
        answered = labels != IGNORE
        each = log_probabilities.gather(-1, chosen.clamp(min=0)[..., None]).squeeze(-1)
        yield -each.masked_fill(~answered, 0.0).sum(1)

    # Evaluation.

    def answer(self, logits: Tensor, allowed: Tensor, batch: Batch, decode: Decode) -> tuple[Tensor, Tensor]:
        """Answers (examples, ...) as numbers and how sure each is, in 0..1, both still on the device.

        Args:
            logits: of the questions.
            allowed: which outputs are candidates: bool (examples, outputs).
            batch: the questions, without labels.
            decode: continues the questions.
        """
        rows = allowed if logits.ndim == 2 else allowed[:, None]
        confidence, best = logits.masked_fill(~rows, float("-inf")).softmax(-1).max(-1)
        return best, confidence

    def read(
        self, answer: Any, confidence: Any, example: Example, names: Sequence[str], tokenizer: Any
    ) -> tuple[Any, float]:
        """An example's answer as it is stored, and one confidence.

        Args:
            answer, confidence: the example's row of what :meth:`answer` gave, as numbers or lists.
            example: with its label.
            names: of the output layer's columns.
            tokenizer: the model's.

        Returns:
            A column of the output layer, or a string.
        """
        return answer, confidence

    def truth(self, example: Example) -> Any:
        """The right answer, as :meth:`read` would give it."""
        return example["label"]

    def score(self, measure: str, truths: Sequence[Any], answers: Sequence[Any]) -> float:
        """One cell of the matrix: ``answers`` against ``truths`` by one of :attr:`measures`."""
        return measure_answers(measure, truths, answers)

    def chance(self, measure: str, truths: Sequence[Any]) -> float | None:
        """What always the same answer would score; None where that is not known, or not worth a warning."""
        return score_by_chance(measure, truths)


def _sample(probabilities: Tensor, draws: Tensor) -> Tensor:
    """The output at which the running sum of probabilities passes each draw."""
    # A GPU's running sum is refused where --deterministic is asked for: then it is the host's.
    wide = probabilities.cpu() if torch.are_deterministic_algorithms_enabled() else probabilities
    cumulative = wide.double().cumsum(-1)
    cumulative /= cumulative[..., -1:].clone()
    chosen = torch.searchsorted(cumulative, draws.to(cumulative)[..., None], right=True).squeeze(-1)
    return chosen.to(probabilities.device)


def _expected(log_probabilities: Tensor, probabilities: Tensor, labels: Tensor) -> Iterator[Tensor]:
    """For each answer and output −√p · log p (examples,)."""
    if labels.ndim == 1:
        log_probabilities, probabilities, labels = log_probabilities[:, None], probabilities[:, None], labels[:, None]
    probabilities = probabilities * (labels != IGNORE)[..., None]
    for position in range(labels.shape[1]):
        for column in probabilities[:, position].amax(0).nonzero().flatten().tolist():
            weight = probabilities[:, position, column].sqrt()
            # An output that is no candidate of an example has log-probability −inf; its weight is 0.
            yield -weight * log_probabilities[:, position, column].masked_fill(weight == 0, 0.0)


def check_strings(data: datasets.Dataset, column: str, where: str) -> None:
    """Refuse a column that holds anything but strings.

    Raises:
        InputError: names it.
    """
    if not all(isinstance(value, str) for value in data[column][:]):
        raise InputError(f"{where} has a {column} that is not a string")


def with_column(data: datasets.Dataset, name: str, values: Sequence[Any]) -> datasets.Dataset:
    """``data`` with other values in the column ``name``."""
    kept = data.features[name]
    return data.remove_columns(name).add_column(name, list(values)).cast_column(name, kept)


def find_columns(data: datasets.Dataset, columns: Sequence[str], where: str) -> None:
    """Refuse a split that lacks one of ``columns``.

    Raises:
        InputError: names it.
    """
    for column in columns:
        if column not in data.column_names:
            raise InputError(f"{where} has no column {column!r}, only {', '.join(data.column_names)}")
