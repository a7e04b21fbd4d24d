"""The memory: each seen example with the same probability, classes balanced, a stream that goes on after a resume."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy import stats

from clbench.data import Example
from clbench.toolkit.buffer import ExampleBuffer, Sampling


def numbered(first: int, count: int, labels: int = 2, task: int = 0) -> list[Example]:
    """Examples whose first token is their number."""
    return [
        {"input_ids": torch.tensor([number] * (1 + number % 3)), "label": number % labels, "task_id": task}
        for number in range(first, first + count)
    ]


def numbers(examples: list[Example]) -> list[int]:
    return [int(example["input_ids"][0]) for example in examples]


def kept_counts(size: float, tasks: list[int], sampling: Sampling, repetitions: int) -> tuple[Counter[int], int]:
    counts: Counter[int] = Counter()
    for seed in range(repetitions):
        buffer, start = ExampleBuffer(size, sampling, seed), 0
        for count in tasks:
            buffer.add(numbered(start, count))
            start += count
        kept = numbers(buffer.examples)
        assert len(set(kept)) == len(kept)
        counts.update(kept)
    return counts, len(buffer)


@pytest.mark.parametrize(
    ("size", "tasks", "probability"), [(5, [20], 0.25), (6, [8, 12, 4], 0.25), (0.25, [8, 12, 4], 0.25)]
)
def test_each_of_n_is_kept_with_probability_m_over_n(size: float, tasks: list[int], probability: float) -> None:
    repetitions, total = 600, sum(tasks)
    counts, held = kept_counts(size, tasks, "reservoir", repetitions)
    assert held == round(probability * total)
    observed = [counts[number] for number in range(total)]
    assert sum(observed) == repetitions * held
    # Under the claim each count is binomial(repetitions, M/N); the sum of squares is conservatively chi-squared.
    expected = repetitions * probability
    statistic = sum((count - expected) ** 2 for count in observed) / (expected * (1 - probability))
    assert stats.chi2.sf(statistic, total) > 1e-4
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], repetitions, probability)
    assert low <= min(observed)
    assert max(observed) <= high


def test_a_count_larger_than_what_was_seen_keeps_all() -> None:
    buffer = ExampleBuffer(50, "reservoir", 0)
    buffer.add(numbered(0, 20))
    buffer.add(numbered(20, 20))
    assert numbers(buffer.examples) == list(range(40))
    buffer.add(numbered(40, 100))
    assert (len(buffer), buffer.seen) == (50, 140)


def test_a_fraction_grows_with_what_was_seen() -> None:
    buffer = ExampleBuffer(0.1, "reservoir", 0)
    sizes = []
    for start, count in ((0, 100), (100, 50), (150, 4)):
        buffer.add(numbered(start, count))
        sizes.append(len(buffer))
    # A tenth of each task, at least one example.
    assert sizes == [10, 15, 16]
    assert sum(number < 100 for number in numbers(buffer.examples)) == 10


@pytest.mark.parametrize("size", [12, 0.1])
def test_class_balance(size: float) -> None:
    buffer = ExampleBuffer(size, "class_balanced", 0)
    # 90 of label 0, 15 of label 1, 15 of label 2; then 60 of the new label 3.
    first = [
        {**example, "label": label}
        for example, label in zip(numbered(0, 120), [0] * 90 + [1] * 15 + [2] * 15, strict=True)
    ]
    buffer.add(first)
    assert Counter(example["label"] for example in buffer.examples) == {0: 4, 1: 4, 2: 4}
    buffer.add([{**example, "label": 3} for example in numbered(120, 60)])
    expected = {0: 3, 1: 3, 2: 3, 3: 3} if size == 12 else {0: 4, 1: 4, 2: 4, 3: 6}
    assert Counter(example["label"] for example in buffer.examples) == expected
    assert len(set(numbers(buffer.examples))) == len(buffer)


def test_class_balance_gives_places_that_a_rare_label_cannot_fill_to_others() -> None:
    buffer = ExampleBuffer(10, "class_balanced", 0)
    buffer.add([{**example, "label": int(number < 2)} for number, example in enumerate(numbered(0, 40))])
    assert Counter(example["label"] for example in buffer.examples) == {0: 8, 1: 2}


def test_class_balance_keeps_every_example_of_a_label_alike() -> None:
    counts, _ = kept_counts(4, [12], "class_balanced", 600)
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], 600, 4 / 12)
    assert low <= min(counts[number] for number in range(12))
    assert max(counts.values()) <= high


def test_sample_is_uniform_and_without_repetition() -> None:
    buffer = ExampleBuffer(10, "reservoir", 0)
    buffer.add(numbered(0, 10))
    drawn: Counter[int] = Counter()
    for _ in range(600):
        sample = numbers(buffer.sample(4))
        assert len(set(sample)) == 4
        drawn.update(sample)
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], 600, 0.4)
    assert low <= min(drawn[number] for number in range(10))
    assert max(drawn.values()) <= high
    assert sorted(numbers(buffer.sample(99))) == list(range(10))


def test_the_seed_decides_and_the_global_stream_is_untouched() -> None:
    state = torch.get_rng_state()
    contents = []
    for seed in (0, 0, 1):
        buffer = ExampleBuffer(5, "reservoir", seed)
        buffer.add(numbered(0, 50))
        contents.append(numbers(buffer.examples))
    assert contents[0] == contents[1] != contents[2]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("size", "sampling"), [(7, "reservoir"), (7, "class_balanced"), (0.2, "reservoir"), (0.2, "class_balanced")]
)
def test_a_restored_memory_goes_on_with_the_same_stream(size: float, sampling: Sampling) -> None:
    one = ExampleBuffer(size, sampling, 3)
    one.add(numbered(0, 30))
    one.sample(3)
    other = ExampleBuffer(size, sampling, 99)
    other.load_state_dict(one.state_dict())
    for buffer in (one, other):
        buffer.add(numbered(30, 30, task=1))
    assert one.seen == other.seen == 60
    assert numbers(one.examples) == numbers(other.examples)
    for mine, theirs in zip(one.examples, other.examples, strict=True):
        assert torch.equal(mine["input_ids"], theirs["input_ids"])
        assert (mine["label"], mine["task_id"]) == (theirs["label"], theirs["task_id"])
    assert [numbers(one.sample(3)) for _ in range(3)] == [numbers(other.sample(3)) for _ in range(3)]


def test_an_empty_memory_and_one_of_images_come_back() -> None:
    empty, restored = ExampleBuffer(5, "reservoir", 0), ExampleBuffer(5, "reservoir", 1)
    restored.load_state_dict(empty.state_dict())
    assert len(restored) == 0
    images = ExampleBuffer(5, "reservoir", 0)
    images.add([{"pixel_values": torch.full((1, 2, 2), float(i)), "label": i, "task_id": 0} for i in range(3)])
    restored.load_state_dict(images.state_dict())
    assert [example["pixel_values"].mean().item() for example in restored.examples] == [0, 1, 2]


def test_class_balance_over_equal_tasks_of_shared_labels_keeps_equal_shares_of_the_tasks() -> None:
    held: Counter[int] = Counter()
    for seed in range(100):
        buffer = ExampleBuffer(20, "class_balanced", seed)
        for task in range(5):
            buffer.add(numbered(40 * task, 40, task=task))
        assert Counter(example["label"] for example in buffer.examples) == {0: 10, 1: 10}
        held.update(example["task_id"] for example in buffer.examples)
    # 20 of 200 without repetition: a task's 40 have 4 places on average, variance 20 · .2 · .8 · 180 / 199 = 2.89.
    assert all(abs(held[task] - 400) < 5 * (100 * 2.89) ** 0.5 for task in range(5))


@pytest.mark.parametrize("sampling", ["class_balanced", "ring", "herding"])
def test_with_fewer_places_than_labels_no_label_is_kept_for_coming_first(sampling: Sampling) -> None:
    held: Counter[int] = Counter()
    for seed in range(300):
        buffer = ExampleBuffer(4, sampling, seed)
        for task in range(4):
            features = torch.eye(6, 3) if sampling == "herding" else None
            buffer.add([{**e, "label": 3 * task + e["label"]} for e in numbered(6 * task, 6, 3, task)], features)
        labels = Counter(example["label"] for example in buffer.examples)
        assert set(labels.values()) == {1}
        assert len(labels) == 4
        held.update(labels)
    # Each of the 12 labels has one of the 4 places with probability 1/3.
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], 300, 1 / 3)
    assert low <= min(held[label] for label in range(12))
    assert max(held.values()) <= high


def test_gdumbs_fraction_is_filled_though_old_labels_have_no_more_examples() -> None:
    buffer = ExampleBuffer(0.05, "greedy_balanced", 0)
    sizes, start = [], 0
    for task, labels in enumerate((20, 2, 8, 3, 2)):
        first = 100 * task
        buffer.add([{**e, "label": first + e["label"]} for e in numbered(start, 600, labels, task)])
        start += 600
        sizes.append(len(buffer))
        assert len(set(numbers(buffer.examples))) == len(buffer)
    assert sizes == [30, 60, 90, 120, 150]
    held = Counter(example["label"] for example in buffer.examples)
    # The second task's 30 places: 15 a label, as none of the first task's 20 labels can be had again.
    assert held[100] == held[101] == 15
