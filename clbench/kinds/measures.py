"""What a cell of the matrix may be, each by the library that the field uses for it; all in 0..1."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from clbench.errors import unknown

BIO_MEASURE = "entity_f1"

Score = Callable[[Sequence[Any], Sequence[Any]], float]


def measure_answers(measure: str, truths: Sequence[Any], answers: Sequence[Any]) -> float:
    """``answers`` against ``truths`` by the measure of that name.

    Raises:
        InputError: there is none.
    """
    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    return MEASURES[measure](truths, answers)


def accuracy(truths: Sequence[Any], answers: Sequence[Any]) -> float:
    """The fraction of right answers."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(truths, answers))


def macro_f1(truths: Sequence[Any], answers: Sequence[Any]) -> float:
    """The mean of the F1 scores of the labels that there are."""
    from sklearn.metrics import f1_score

    present = sorted(set(truths))
    return float(f1_score(truths, answers, labels=present, average="macro", zero_division=0))


def entity_f1(truths: Sequence[str], answers: Sequence[str]) -> float:
    """F1 of whole entities in BIO, begin, end and type all right (seqeval, mode "strict", scheme IOB2)."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    split = [[row.split() for row in rows] for rows in (truths, answers)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no entity is said by a score of 0
        return float(f1_score(*split, mode="strict", scheme=IOB2, zero_division=0))


def token_accuracy(truths: Sequence[str], answers: Sequence[str]) -> float:
    """The fraction of words with the right tag."""
    return accuracy([tag for row in truths for tag in row.split()], [tag for row in answers for tag in row.split()])


def exact_match(truths: Sequence[str], answers: Sequence[str]) -> float:
    """The fraction of answers that are the right one to the letter, but for white space around them."""
    right = [truth.strip() == answer.strip() for truth, answer in zip(truths, answers, strict=True)]
    return sum(right) / len(right)


def rouge_l(truths: Sequence[str], answers: Sequence[str]) -> float:
    """The mean F-measure of the longest common subsequence of words (Lin 2004; rouge-score, no stemming)."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    scores = [scorer.score(truth, answer)["rougeL"].fmeasure for truth, answer in zip(truths, answers, strict=True)]
    return float(sum(scores) / len(scores))


def chrf(truths: Sequence[str], answers: Sequence[str]) -> float:
    """The corpus's F score of character n-grams (Popovic 2015; sacrebleu's chrF2), a hundredth of it."""
    from sacrebleu import corpus_chrf

    return float(corpus_chrf(list(answers), [list(truths)]).score) / 100


def score_by_chance(measure: str, truths: Sequence[str]) -> float | None:
    """What always the same written answer, or the same tag for each word, would score; None where it is not known.

    The most frequent tag marks no entity. Where there is but one answer it is right.
    """
    if measure == "entity_f1":
        return 0.0 if any(tag != "O" for truth in truths for tag in truth.split()) else None
    if measure not in ("token_accuracy", "exact_match"):
        return None
    answers = [truth.strip() for truth in truths]
    counts = Counter(answers if measure == "exact_match" else [tag for answer in answers for tag in answer.split()])
    return max(counts.values()) / counts.total() if len(counts) > 1 else None


LABELS, TAGS, WRITTEN = "labels", "tags", "written"
"""What answers are that a measure judges: a label each, a tag for each word, or a text."""

ANSWERS = {
    "accuracy": LABELS,
    "macro_f1": LABELS,
    "entity_f1": TAGS,
    "token_accuracy": TAGS,
    "exact_match": WRITTEN,
    "rouge_l": WRITTEN,
    "chrf": WRITTEN,
}

MEASURES: dict[str, Score] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "entity_f1": entity_f1,
    "token_accuracy": token_accuracy,
    "exact_match": exact_match,
    "rouge_l": rouge_l,
    "chrf": chrf,
}
