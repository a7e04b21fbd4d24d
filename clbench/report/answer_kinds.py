"""Wrong answers that are not one label an example: tags of words, and written answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clbench.kinds import measure_answers
from clbench.report.mistake_records import Mistake
from clbench.report.task_mistakes import Owner, confident_mistakes
from clbench.results import Answers


@dataclass(frozen=True)
class WordAnswers(Answers):
    """A task's words one after the other, each with its tag, the tag given and its sentence's confidence.

    ``places`` has the sentence of each word and its place in it.
    """

    places: tuple[tuple[int, int], ...]


def tagged_words(answers: Answers) -> WordAnswers:
    """The words of sentences whose answers are tags with blanks between."""
    rows: list[tuple[str, str, float, tuple[int, int]]] = []
    sentences = zip(answers.labels, answers.predictions, answers.confidences, strict=True)
    for number, (tags, given, confidence) in enumerate(sentences):
        pairs = zip(tags.split(), given.split(), strict=True)
        rows += [(tag, answer, confidence, (number, place)) for place, (tag, answer) in enumerate(pairs)]
    labels, predictions, confidences, places = zip(*rows, strict=True)
    return WordAnswers(labels, predictions, confidences, places)


def word_mistakes(answers: Answers, owner: Owner, most: int) -> list[Mistake]:
    """The wrong tags of the sentences that were answered most confidently, by sentence and word."""
    assert isinstance(answers, WordAnswers)
    found = []
    for each in confident_mistakes(answers, owner, most):
        sentence, word = answers.places[each.index]
        found.append(Mistake(sentence, each.label, each.answer, each.answer_task, each.confidence, None, word))
    return found


def marked_word(text: str, word: int) -> str:
    """A sentence whose words have blanks between, with one of them in brackets.

    >>> marked_word("Ann left Rome", 2)
    'Ann left [Rome]'
    """
    words = text.split()
    return " ".join([*words[:word], f"[{words[word]}]", *words[word + 1 :]])


def written_mistakes(answers: Answers, measure: str, task: str, most: int) -> list[Mistake]:
    """The worst by ``measure`` of the answers that are not right to the letter, of equal ones the most confident."""
    rows: Sequence[tuple[str, str, float]] = list(
        zip(answers.labels, answers.predictions, answers.confidences, strict=True)
    )
    wrong = [number for number, (label, answer, _) in enumerate(rows) if label.strip() != answer.strip()]
    scores = {number: measure_answers(measure, [rows[number][0]], [rows[number][1]]) for number in wrong}
    wrong.sort(key=lambda number: (scores[number], -rows[number][2]))
    return [Mistake(n, rows[n][0], rows[n][1], task, rows[n][2], None) for n in wrong[:most]]
