"""What is said of a run's wrong answers; the names of the fields are the keys of ``clbench errors --format json``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Precision, recall and F1 of a label, over the task's own examples, or their mean over its labels."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class LabelScore(Score):
    """The scores of one label, and how many test examples it has."""

    label: str
    examples: int


@dataclass(frozen=True)
class Destination:
    """A label that examples were answered with, whose task's it is (None: unknown), and how many."""

    label: str
    task: str | None
    count: int


@dataclass(frozen=True)
class TaskCount:
    """How many examples were answered with a label of another task."""

    task: str
    count: int


@dataclass(frozen=True)
class Loss:
    """A label whose recall fell: ``lost`` examples were right when the task was learned and are wrong now."""

    label: str
    examples: int
    recall_when_learned: float
    recall: float
    lost: int
    went: list[Destination]


@dataclass(frozen=True)
class Confusion:
    """Counts of examples by true label (rows) and answer (columns; with whose task's label each is)."""

    labels: list[str]
    answers: list[str]
    answer_tasks: list[str | None]
    counts: list[list[int]]


@dataclass(frozen=True)
class Mistake:
    """A wrong answer; ``word`` is the place of a word with a wrong tag, None where an example has one answer.

    ``text`` is what the example holds, None where it is not at hand.
    """

    index: int
    label: str
    answer: str
    answer_task: str | None
    confidence: float
    text: str | None
    word: int | None = None


@dataclass(frozen=True)
class TaskErrors:
    """One task at the time asked for.

    ``accuracy`` is by ``measure``. Of token tasks ``examples`` and ``wrong`` count words, whose labels are their tags.
    Of written answers there are no labels, no confusion and no losses: ``macro``, ``weighted`` and ``lost`` are None.

    ``accuracy_when_learned`` is None where it was not measured or the task is still to come; ``lost`` is None there and
    right after the task was learned.
    """

    task: str
    position: int
    measure: str
    examples: int
    wrong: int
    accuracy: float
    accuracy_when_learned: float | None
    labels: list[LabelScore]
    macro: Score | None
    weighted: Score | None
    confusion: Confusion
    other_tasks: list[TaskCount]
    lost: list[Loss] | None
    mistakes: list[Mistake]


@dataclass(frozen=True)
class RunErrors:
    """What a run got wrong after ``after`` tasks; ``unmeasured`` tasks have no predictions then."""

    run: str
    scenario: str
    setting: str
    strategy: str
    model: str
    seed: int
    limited: bool
    split: str
    after: int
    task_names: list[str]
    tasks: list[TaskErrors]
    unmeasured: list[str]
    notes: list[str]
