"""One row of the matrix: every task's test set, with each prediction kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from clbench.data import Example
from clbench.kinds import Kind
from clbench.learner import Learner
from clbench.models import ranks
from clbench.strategy import Strategy
from clbench.toolkit.passes import in_passes


@dataclass(frozen=True)
class Evaluation:
    """One task's test set after some task: answers and how sure each is, in the order of the test set.

    Attributes:
        labels: the right answers: columns of the output layer, or strings.
        predictions: the same of the model.
        confidences: in 0..1.
        kind: of the task.
        measure: by which the answers are scored.
    """

    labels: list[Any]
    predictions: list[Any]
    confidences: list[float]
    kind: Kind
    measure: str

    @cached_property
    def score(self) -> float:
        """The cell of the matrix: accuracy where nothing else is said."""
        return self.kind.score(self.measure, self.labels, self.predictions)

    @cached_property
    def beside(self) -> float | None:
        """The kind's second measure, such as macro-F1 beside accuracy; None where it has none."""
        return self.kind.score(self.kind.beside, self.labels, self.predictions) if self.kind.beside else None


def measurable(learner: Learner, position: int) -> bool:
    """Whether task ``position`` can be answered now: where no task is given, all its labels must have been seen."""
    return learner.labels.answerable(position, learner.tasks_seen)


def evaluate_all(
    learner: Learner, strategy: Strategy, tests: Sequence[Sequence[Example]], token_budget: int = 0
) -> list[Evaluation | None]:
    """Predict every task's test set, the model in eval mode; None where it is empty or cannot be answered yet.

    All tasks are one stream sorted by length; a strategy that answers in the model's place is asked task after task,
    with the task id in the task setting only.

    Args:
        learner: the model.
        strategy: may answer in the model's place.
        tests: each task's test set.
        token_budget: tokens of one forward pass, 0 for what suits the device; halved where memory runs out.
    """
    positions = [position for position, test in enumerate(tests) if test and measurable(learner, position)]
    groups = [[position] for position in positions] if strategy.answers or not positions else [positions]
    rows: list[Evaluation | None] = [None for _ in tests]
    learner.model.eval()
    for group in groups:
        examples = [example for position in group for example in tests[position]]
        questions = [learner.kind.question(example) for example in examples]
        answers = ranks.shared_out(questions, partial(_answers, learner, strategy, group, token_budget))
        given = iter(zip(examples, answers, strict=True))
        for position in group:
            own = list(islice(given, len(tests[position])))
            rows[position] = _read(learner, position, own)
    return rows


def _answers(
    learner: Learner, strategy: Strategy, tasks: Sequence[int], token_budget: int, questions: Sequence[Example]
) -> list[tuple[Any, Any]]:
    """The answer to each question, which is of one of ``tasks``, and how sure it is."""
    return in_passes(learner, questions, partial(_predict, learner, strategy, questions, tasks), token_budget)


def _read(learner: Learner, position: int, given: Sequence[tuple[Example, tuple[Any, Any]]]) -> Evaluation:
    """The answers to a task's examples as they are scored and stored."""
    kind, names, tokenizer = learner.kind, learner.labels.names, learner.tokenizer
    read = [kind.read(*answer, example, names, tokenizer) for example, answer in given]
    truths = [kind.truth(example) for example, _ in given]
    return Evaluation(truths, [r[0] for r in read], [r[1] for r in read], kind, learner.measures[position])


@torch.inference_mode()
def _predict(
    learner: Learner,
    strategy: Strategy,
    questions: Sequence[Example],
    tasks: Sequence[int],
    batches: Iterable[list[int]],
) -> list[tuple[Any, Any]]:
    """What :func:`_answers` gives, as numbers or lists of numbers."""
    given = learner.labels.setting == "task"
    allowed = learner.candidates(local=False)
    numbers, answers, confidences = [], [], []
    for batch_numbers in batches:
        batch = learner.collate([questions[i] for i in batch_numbers])
        del batch["labels"]
        rows = allowed[batch["task_ids"]]
        if not given:
            batch["task_ids"].zero_()
        with learner.clock.part("eval/forward"):
            logits = strategy.predict(learner, batch, tasks[0] if given else None) if strategy.answers else None
            if logits is None:
                logits = learner.logits(batch)
            answer, confidence = learner.kind.answer(logits, rows, batch, learner.decode)
        numbers += batch_numbers
        answers.append(answer)
        confidences.append(confidence)
    found: list[tuple[Any, Any]] = [(None, None)] * len(questions)
    for number, pair in zip(numbers, zip(_as_lists(answers), _as_lists(confidences), strict=True), strict=True):
        found[number] = pair
    return found


def _as_lists(batches: Sequence[Tensor]) -> list[Any]:
    """The rows of all batches; one copy from the device where a row is a number."""
    if batches and batches[0].ndim == 1:
        return list(torch.cat(list(batches)).tolist())
    return [row for batch in batches for row in batch.tolist()]
