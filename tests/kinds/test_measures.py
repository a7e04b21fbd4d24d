"""The measures, each on a case worked by hand."""

import pytest
from sacrebleu.metrics.chrf import CHRF

from clbench.errors import InputError
from clbench.kinds import measure_answers, score_by_chance


def test_whole_entities_count_and_only_where_all_of_them_is_right() -> None:
    truths = ["B-name I-name O B-city", "O B-city"]
    answers = ["B-name I-name O B-name", "O B-city"]
    assert measure_answers("entity_f1", truths, answers) == pytest.approx(2 / 3)  # 2 of 3 given, 2 of 3 there
    begun = ["B-name O O B-city", "O B-city"]  # the first ends too early
    assert measure_answers("entity_f1", truths, begun) == pytest.approx(2 / 3)


def test_an_entity_without_a_beginning_is_none() -> None:
    assert measure_answers("entity_f1", ["B-name I-name"], ["I-name I-name"]) == 0.0
    assert measure_answers("entity_f1", ["O O"], ["O O"]) == 0.0


def test_what_always_the_same_answer_scores() -> None:
    """So that a task that was not learned is told in every kind."""
    tags = ["O O B-name I-name", "O B-city", "O"]
    assert score_by_chance("token_accuracy", tags) == 4 / 7
    assert score_by_chance("entity_f1", tags) == 0.0
    assert score_by_chance("exact_match", ["Paris", "Bonn", " Paris\n"]) == 2 / 3
    for measure, truths in (("entity_f1", ["O O"]), ("exact_match", ["a", "a"]), ("rouge_l", ["a", "b"])):
        assert score_by_chance(measure, truths) is None


def test_words_are_counted_whatever_their_sentence() -> None:
    assert measure_answers("token_accuracy", ["A B C", "A"], ["A C C", "B"]) == 2 / 4


def test_exact_match_forgives_white_space_alone() -> None:
    assert measure_answers("exact_match", ["Paris", "Bonn", "Rome"], [" Paris\n", "bonn", "Rome."]) == pytest.approx(
        1 / 3
    )


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence() -> None:
    # "the cat" of three words there and of two given: recall 2/3, precision 1; nothing in common: 0.
    found = measure_answers("rouge_l", ["the cat sat", "a dog"], ["the cat", "no"])
    assert found == pytest.approx((2 * 1 * (2 / 3) / (1 + 2 / 3)) / 2)


def test_chrf_is_sacrebleus_of_the_whole_set() -> None:
    truths, answers = ["guten Tag", "auf Wiedersehen"], ["guten Abend", "auf Wiedersehen"]
    assert measure_answers("chrf", truths, truths) == 1.0
    assert measure_answers("chrf", truths, answers) == pytest.approx(CHRF().corpus_score(answers, [truths]).score / 100)


def test_an_unknown_measure_is_a_line() -> None:
    with pytest.raises(InputError, match="unknown measure 'acuracy'; did you mean 'accuracy'"):
        measure_answers("acuracy", ["a"], ["a"])
