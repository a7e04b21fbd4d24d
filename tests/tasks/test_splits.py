import random
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from clbench.tasks import splits

AVAILABLE = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1)


def test_words_only_ignores_punctuation_and_case_but_keeps_an_emoticon() -> None:
    assert splits.words_only("It's  GREAT_fun!") == "it s great fun"
    assert splits.words_only(":-)") == ":-)"
    assert splits.words_only(":-)") != splits.words_only(":-(")


def test_deduplicate_keeps_the_first_and_drops_contradictions_and_excluded() -> None:
    rows = [("A", "x"), ("b", "x"), ("a", "x"), ("c", "x"), ("C", "y"), ("d", "y"), ("c", "x")]
    assert splits.deduplicate(rows, str.lower, exclude=["D"]) == [("A", "x"), ("b", "x")]


def test_balanced_quotas_by_hand() -> None:
    # b has only 3 to give, so 17 are left for two: 9 and 8.
    assert splits.balanced_quotas(20, {"a": 9, "b": 3, "c": 9}) == {"a": 9, "b": 3, "c": 8}
    with pytest.raises(ValueError, match="22 rows asked for, 21 available"):
        splits.balanced_quotas(22, {"a": 9, "b": 3, "c": 9})


@settings(deadline=None, derandomize=True)
@given(AVAILABLE, st.data())
def test_balanced_quotas_are_level_up_to_what_there_is(available: dict[str, int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(available.values())))
    quotas = splits.balanced_quotas(total, available)
    assert sum(quotas.values()) == total
    assert all(quotas[label] <= available[label] for label in available)
    not_exhausted = [quotas[label] for label in available if quotas[label] < available[label]]
    assert all(max(quotas.values()) - count <= 1 for count in not_exhausted)


def test_proportional_quotas_by_hand() -> None:
    # 7 of 20: 3.5, 2.45 and 1.05; the half gets the remaining one.
    assert splits.proportional_quotas(7, {"a": 10, "b": 7, "c": 3}) == {"a": 4, "b": 2, "c": 1}


@settings(deadline=None, derandomize=True)
@given(AVAILABLE, st.data())
def test_balanced_counts_fill_every_split_exactly(available: dict[str, int], data: st.DataObject) -> None:
    everything = sum(available.values())
    dev = data.draw(st.integers(0, everything))
    test = data.draw(st.integers(0, everything - dev))
    train = data.draw(st.integers(0, everything - dev - test))
    counts = splits.balanced_counts((train, dev, test), available)
    assert [sum(count[i] for count in counts.values()) for i in range(3)] == [train, dev, test]
    assert all(min(count) >= 0 and sum(count) <= available[label] for label, count in counts.items())


@settings(deadline=None, derandomize=True)
@given(st.integers(3, 200), st.floats(0.01, 0.49), st.floats(0.01, 0.49))
def test_fractional_counts_use_every_row_and_leave_no_split_empty(rows: int, dev: float, test: float) -> None:
    (count,) = splits.fractional_counts({"a": rows}, dev, test).values()
    assert sum(count) == rows
    assert min(count) >= 1


def test_draw_takes_each_row_once_with_the_counts_asked_for() -> None:
    rows = [(number, "odd" if number % 2 else "even") for number in range(40)]
    parts = splits.draw(rows, {"even": (5, 2, 3), "odd": (4, 1, 2)}, random.Random(0))
    assert [Counter(label for _, label in part) for part in parts] == [
        {"even": 5, "odd": 4},
        {"even": 2, "odd": 1},
        {"even": 3, "odd": 2},
    ]
    numbers = [number for part in parts for number, _ in part]
    assert len(set(numbers)) == len(numbers) == 17
    assert all((number, label) in rows for part in parts for number, label in part)
    assert all(labels != sorted(labels) for labels in ([label for _, label in part] for part in parts[::2]))
    assert parts == splits.draw(rows, {"even": (5, 2, 3), "odd": (4, 1, 2)}, random.Random(0))
    assert parts != splits.draw(rows, {"even": (5, 2, 3), "odd": (4, 1, 2)}, random.Random(1))
