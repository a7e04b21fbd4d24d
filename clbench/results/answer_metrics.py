"""Metrics of what a model answers after the last task: pure functions of its stored answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import ceil, fsum

from clbench.results.predictions import Answers

BINS = 15


def recency_bias(answers: Sequence[Answers], setting: str) -> float | None:
    """The share of answers that name a label of the last task: the task-recency bias (Masana et al. 2022).

    Without bias it is the last task's share of the test examples, where it is right as often as the others. Labels that
    earlier tasks have too are not the last task's; None where it has no other, for a single task, and in the task
    setting, where the answer can only be a label of the task that is asked.

    Args:
        answers: to each task's test set at the end, in the order in which tasks were learned.
        setting: ``task``, ``domain`` or ``class``.
    """
    own = set(answers[-1].labels).difference(*(each.labels for each in answers[:-1]))
    if setting == "task" or len(answers) == 1 or not own:
        return None
    predictions = [prediction for each in answers for prediction in each.predictions]
    return sum(prediction in own for prediction in predictions) / len(predictions)


def expected_calibration_error(answers: Sequence[Answers]) -> float:
    """How far confidence is from accuracy: Σ_bins |bin| / n · |accuracy - mean confidence| (Guo et al. 2017, eq. 3).

    The answers of all tasks are sorted together into 15 bins of equal width, ((k - 1) / 15, k / 15]. 0 is a model that
    is right in 70 of 100 answers that it is 70 % sure of.

    Args:
        answers: to each task's test set at the end.
    """
    bins: dict[int, list[float]] = defaultdict(list)
    for each in answers:
        for label, prediction, confidence in zip(each.labels, each.predictions, each.confidences, strict=True):
            bins[max(1, ceil(confidence * BINS))].append((label == prediction) - confidence)
    return fsum(abs(fsum(gaps)) for gaps in bins.values()) / sum(len(each.labels) for each in answers)
