"""From texts and images to batches: tokenising, the order of training, evaluation's budget, padding."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from clbench.data import (
    BUCKET_BATCHES,
    collate,
    concatenate,
    evaluation_batches,
    length,
    pad_left,
    training_batches,
)
from clbench.kinds import Part, find_kind
from clbench.models.tiny import tiny_words
from clbench.rng import generator, stream_seed
from clbench.scenario import Task
from clbench.tasks.labels import label_space
from clbench.tasks.rows import image_dataset, text_dataset

CPU = torch.device("cpu")


def lengths_of(count: int, seed: int = 0) -> list[int]:
    stream = random.Random(seed)
    return [stream.randint(3, 64) for _ in range(count)]


@pytest.mark.parametrize(("count", "size"), [(1, 4), (7, 3), (100, 8), (333, 16), (32, 32)])
def test_an_epoch_takes_every_example_once(count: int, size: int) -> None:
    batches = training_batches(lengths_of(count), size, generator(0, "x"))
    assert sorted(number for batch in batches for number in batch) == list(range(count))
    assert len(batches) == -(-count // size)
    assert sum(len(batch) < size for batch in batches) <= 1
    assert all(batches)


def test_the_order_depends_on_the_stream_only() -> None:
    lengths = lengths_of(100)
    same = [training_batches(lengths, 8, generator(0, "order", 1)) for _ in range(2)]
    assert same[0] == same[1]
    assert training_batches(lengths, 8, generator(0, "order", 2)) != same[0]
    assert training_batches(lengths, 8, generator(1, "order", 1)) != same[0]


def test_a_batch_has_similar_lengths_and_long_ones_do_not_come_last() -> None:
    lengths = lengths_of(640)
    batches = training_batches(lengths, 16, generator(0, "x"))
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    # Unsorted batches of 16 lengths from 3 to 64 would pad to 16/17 of the range: 1.8 times the tokens.
    assert padded < 1.2 * sum(lengths)
    means = [sum(lengths[i] for i in batch) / len(batch) for batch in batches]
    assert means != sorted(means)
    assert means != sorted(means, reverse=True)


def test_examples_mix_across_the_epoch() -> None:
    # Windows come from a random permutation: neighbours in the data set do not stay together.
    batches = training_batches([5] * 640, 16, generator(0, "x"))
    windows = 640 // (16 * BUCKET_BATCHES)
    assert windows == 4
    assert all(max(batch) - min(batch) > 200 for batch in batches)


@pytest.mark.parametrize("budget", [1, 64, 300, 10**6])
def test_evaluation_covers_all_within_the_budget(budget: int) -> None:
    lengths = lengths_of(100)
    batches = list(evaluation_batches(lengths, budget))
    assert sorted(number for batch in batches for number in batch) == list(range(100))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    # Greedy: the next example would not have fitted.
    for batch, following in itertools.pairwise(batches):
        assert (len(batch) + 1) * max(lengths[i] for i in [*batch, following[0]]) > budget


def test_evaluation_of_nothing() -> None:
    assert list(evaluation_batches([], 10)) == []


def text(ids: list[int], label: int, task: int) -> dict[str, Any]:
    return {"input_ids": torch.tensor(ids), "label": label, "task_id": task}


def test_collate_pads_to_the_longest() -> None:
    batch = collate([text([7, 8, 9], 2, 0), text([5], 0, 1)], 99, CPU)
    assert batch["input_ids"].tolist() == [[7, 8, 9], [5, 99, 99]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [2, 0]
    assert batch["task_ids"].tolist() == [0, 1]


def test_a_token_that_equals_the_padding_is_still_attended_to() -> None:
    assert collate([text([0, 4, 0], 0, 0)], 0, CPU)["attention_mask"].tolist() == [[1, 1, 1]]


def test_collate_stacks_images() -> None:
    images = torch.arange(12.0).reshape(2, 1, 2, 3)
    batch = collate([{"pixel_values": image, "label": i, "task_id": 0} for i, image in enumerate(images)], 0, CPU)
    assert set(batch) == {"pixel_values", "labels", "task_ids"}
    assert torch.equal(batch["pixel_values"], images)


@pytest.mark.parametrize("swapped", [False, True])
def test_concatenate_pads_the_narrower(swapped: bool) -> None:
    wide, narrow = collate([text([7, 8, 9], 2, 0)], 99, CPU), collate([text([5], 0, 1)], 99, CPU)
    joined = concatenate(narrow, wide, 99) if swapped else concatenate(wide, narrow, 99)
    order = [1, 0] if swapped else [0, 1]
    assert joined["input_ids"][order].tolist() == [[7, 8, 9], [5, 99, 99]]
    assert joined["attention_mask"][order].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert joined["labels"][order].tolist() == [2, 0]
    assert joined["task_ids"][order].tolist() == [0, 1]


def test_concatenate_images() -> None:
    one = collate([{"pixel_values": torch.ones(1, 2, 2), "label": 0, "task_id": 0}], 0, CPU)
    assert concatenate(one, one, 0)["pixel_values"].shape == (2, 1, 2, 2)


def test_encode_gives_labels_their_columns() -> None:
    split = text_dataset([("a bb ccc dddd", "yes"), ("bb", "no")], ("no", "yes"))
    task = Task("two", "text", ("no", "yes"), split, split, split)
    space = label_space([task, task], "task")
    parts = [Part(split, task.labels, space.columns[position], position) for position in (1, 0)]
    examples, other = find_kind("text").encode(parts, tiny_words([task]), 3).examples
    assert [len(example["input_ids"]) for example in examples] == [3, 1]  # cut at three tokens
    assert examples[0]["input_ids"][1] == examples[1]["input_ids"][0]  # "bb"
    assert [(example["label"], example["task_id"]) for example in other] == [(1, 0), (0, 0)]
    # The second task's labels are the columns 2 (no) and 3 (yes).
    assert [(example["label"], example["task_id"]) for example in examples] == [(3, 1), (2, 1)]
    assert [length(example) for example in examples] == [3, 1]


def test_encode_images() -> None:
    images = torch.linspace(0, 1, 8).reshape(2, 1, 2, 2).numpy()
    split = image_dataset(images, [1, 0])
    task = Task("one", "image", ("no", "yes"), split, split, split)
    columns = label_space([task, task], "domain").columns[0]
    (examples,) = find_kind("image").encode([Part(split, task.labels, columns, 0)], None, 0).examples
    assert torch.equal(torch.stack([example["pixel_values"] for example in examples]), torch.from_numpy(images))
    assert [(example["label"], length(example)) for example in examples] == [(1, 1), (0, 1)]


def test_streams_are_separate_and_named() -> None:
    names: list[tuple[str | int, ...]] = [("a",), ("b",), ("a", 1), ("a", "b"), ("ab",), ()]
    seeds = [stream_seed(seed, *name) for seed in (0, 1, 11) for name in names]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert stream_seed(1, 1) != stream_seed(11)
    before = torch.get_rng_state()
    draw: Callable[[], torch.Tensor] = lambda: torch.rand(3, generator=generator(3, "a"))
    assert torch.equal(draw(), draw())
    assert torch.equal(torch.get_rng_state(), before)


def test_padding_moves_to_the_left_and_texts_keep_their_order() -> None:
    texts = [[5, 6], [7, 8, 9], [4]]
    batch = collate([{"input_ids": torch.tensor(ids), "label": 0, "task_id": 0} for ids in texts], 3, CPU)
    assert batch["input_ids"].tolist() == [[5, 6, 3], [7, 8, 9], [4, 3, 3]]
    moved = pad_left({key: batch[key] for key in ("input_ids", "attention_mask")})
    assert moved["input_ids"].tolist() == [[3, 5, 6], [7, 8, 9], [3, 3, 4]]
    assert moved["attention_mask"].tolist() == [[0, 1, 1], [1, 1, 1], [0, 0, 1]]
