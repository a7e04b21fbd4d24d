"""What one task's wrong answers come to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from clbench.report.mistake_records import Confusion, Destination, LabelScore, Loss, Mistake, Score, TaskCount
from clbench.results import Answers
from clbench.text import natural

Owner = Callable[[str], str | None]
"""The task that a label belongs to, in the eyes of one task; None where it is not known."""


def tasks_of_labels(answers: Mapping[tuple[int, str], Answers]) -> dict[str, set[str]]:
    """The tasks that have test examples of each label."""
    found: dict[str, set[str]] = defaultdict(set)
    for (_, task), own in answers.items():
        for label in set(own.labels):
            found[label].add(task)
    return dict(found)


def label_owner(task: str, setting: str, tasks: Mapping[str, set[str]]) -> Owner:
    """Whose each label is that examples of ``task`` are answered with; ``tasks`` has each label's.

    Where the task is given all answers are its own labels, and so is a label that it shares with others.
    """

    def owner(label: str) -> str | None:
        found = tasks.get(label, set())
        if setting == "task" or task in found:
            return task
        return next(iter(found)) if len(found) == 1 else None

    return owner


def label_scores(answers: Answers) -> tuple[list[LabelScore], Score, Score]:
    """Precision, recall and F1 of each label that has examples, their mean, and their mean weighted by examples."""
    import numpy as np
    from sklearn.metrics import precision_recall_fscore_support

    labels = _own_labels(answers)
    *values, counts = precision_recall_fscore_support(
        answers.labels, answers.predictions, labels=labels, zero_division=0.0
    )
    rows = zip(labels, *(value.tolist() for value in (*values, counts)), strict=True)
    scores = [LabelScore(precision, recall, f1, label, int(count)) for label, precision, recall, f1, count in rows]
    macro, weighted = (
        Score(*(float(np.average(value, weights=weights)) for value in values)) for weights in (None, counts)
    )
    return scores, macro, weighted


def confusion(answers: Answers, owner: Owner, tasks: Sequence[str]) -> Confusion:
    """Which label was answered with which: the task's own first, then those of other ``tasks`` in their order."""
    labels = _own_labels(answers)
    own = set(labels)
    others = sorted(set(answers.predictions) - own, key=lambda label: (_place(owner(label), tasks), natural(label)))
    columns = [*labels, *others]
    pairs = Counter(zip(answers.labels, answers.predictions, strict=True))
    counts = [[pairs[label, answer] for answer in columns] for label in labels]
    return Confusion(labels, columns, [owner(label) for label in columns], counts)


def other_tasks(task: str, answers: Answers, owner: Owner) -> list[TaskCount]:
    """The tasks whose labels examples of ``task`` were answered with, the most frequent first."""
    counts = Counter(owner(answer) for answer in answers.predictions)
    return [TaskCount(name, count) for name, count in counts.most_common() if name not in (None, task)]


def losses(then: Answers, now: Answers, owner: Owner) -> list[Loss]:
    """The labels whose recall fell from ``then`` to ``now``, that fell most first."""
    found = []
    for label in _own_labels(now):
        rows = [i for i, true in enumerate(now.labels) if true == label]
        before = sum(then.predictions[i] == label for i in rows)
        after = sum(now.predictions[i] == label for i in rows)
        went = [now.predictions[i] for i in rows if then.predictions[i] == label != now.predictions[i]]
        if after < before:
            places = [Destination(answer, owner(answer), count) for answer, count in _most_common(went)]
            found.append(Loss(label, len(rows), before / len(rows), after / len(rows), len(went), places))
    return sorted(found, key=lambda loss: (loss.recall - loss.recall_when_learned, -loss.lost))


def confident_mistakes(answers: Answers, owner: Owner, most: int) -> list[Mistake]:
    """The ``most`` wrong answers with the highest probability, without their texts."""
    wrong = [i for i, label in enumerate(answers.labels) if answers.predictions[i] != label]
    wrong.sort(key=lambda i: -answers.confidences[i])
    rows = ((i, answers.labels[i], answers.predictions[i], answers.confidences[i]) for i in wrong[:most])
    return [Mistake(i, label, answer, owner(answer), confidence, None) for i, label, answer, confidence in rows]


def _own_labels(answers: Answers) -> list[str]:
    return sorted(set(answers.labels), key=natural)


def _place(task: str | None, tasks: Sequence[str]) -> int:
    return len(tasks) if task is None else tasks.index(task)


def _most_common(labels: Sequence[str]) -> list[tuple[str, int]]:
    return sorted(Counter(labels).items(), key=lambda item: (-item[1], natural(item[0])))
