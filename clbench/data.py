"""Examples and batches: collating, length buckets, the label space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

# One tokenised example: "input_ids" (tokens,) int64 or "pixel_values" (channels, height, width) fp32; for a pair of
# texts, where the model reads which of the two a token is of, "token_type_ids" (tokens,) int64;
# "label" its column in the output layer, or (tokens,) int64 one for each token that has an answer and IGNORE elsewhere,
# "task_id" its task's position.
Example = dict[str, Any]
# A collated batch: "input_ids", "attention_mask" and, where examples have them, "token_type_ids" (examples, tokens), or
# "pixel_values" (examples, c, h, w); "labels" (examples,) or (examples, tokens) and "task_ids" (examples,).
Batch = dict[str, Tensor]
# The label of a token that has no answer; torch's cross-entropy leaves it out.
IGNORE = -100

# Batches are drawn from windows of this many shuffled batches sorted by length: little padding, well mixed.
BUCKET_BATCHES = 10
# Tokens of one pass outside training, padding included, by device: a CPU is fastest where activations stay in its
# cache. No result depends on it.
TOKEN_BUDGET = {"cpu": 1024, "cuda": 32768}
# The same for images: bytes of their pixels, which a network's first layers make a few dozen times more of.
PIXEL_BUDGET = {"cpu": 2**18, "cuda": 2**24}


@dataclass(frozen=True)
class LabelSpace:
    """Which output column stands for which label of which task.

    Attributes:
        setting: "task", "domain" or "class".
        names: a label name for each column.
        columns: for each task, the column of each of its labels.
    """

    setting: str
    names: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]

    def candidates(self, task_id: int | None, tasks_seen: int) -> tuple[int, ...]:
        """The columns among which an answer is looked for.

        Args:
            task_id: the example's task, None when the setting does not give it.
            tasks_seen: how many tasks training has reached; where the task is not given, their labels are the
                candidates. In the domain setting the first task's are from the start: a model for them is what is there
                before any training.
        """
        if self.setting == "task":
            assert task_id is not None
            return self.columns[task_id]
        reached = max(tasks_seen, 1) if self.setting == "domain" else tasks_seen
        return tuple(sorted({column for columns in self.columns[:reached] for column in columns}))

    def answerable(self, task_id: int, tasks_seen: int) -> bool:
        """Whether all labels of a task are candidates for its examples, so that each of them may be answered right."""
        return set(self.columns[task_id]) <= set(self.candidates(task_id, tasks_seen))

    @property
    def shares_columns(self) -> bool:
        """Whether two tasks have a column in common."""
        return len({column for columns in self.columns for column in columns}) < sum(map(len, self.columns))


@dataclass(frozen=True)
class TaskData:
    """A task as strategies see it: tokenised train and dev examples. The test examples stay with the evaluator.

    ``columns`` are the output layer's columns of this task's labels.
    """

    position: int
    name: str
    columns: tuple[int, ...]
    train: list[Example]
    dev: list[Example]


def learned_together(tasks: Sequence[TaskData], position: int, sources: Sequence[int]) -> TaskData:
    """The task at ``position``; where its steps learn from several, one with the examples and labels of all of them."""
    if len(sources) < 2:
        return tasks[position]
    own = [tasks[source] for source in sources]
    return replace(
        tasks[position],
        columns=tuple(sorted({column for task in own for column in task.columns})),
        train=[example for task in own for example in task.train],
        dev=[example for task in own for example in task.dev],
    )


def length(example: Example) -> int:
    """Tokens of a text, 1 for an image."""
    return len(example["input_ids"]) if "input_ids" in example else 1


def label_group(example: Example) -> int:
    """What memories balance: the example's label, or its task where it has no single one, as a number below 0."""
    label = example["label"]
    return -1 - int(example["task_id"]) if isinstance(label, Tensor | float) else int(label)


def collate(examples: Sequence[Example], padding_id: int, device: torch.device) -> Batch:
    """Stack ``examples`` into a batch on ``device``, padding texts to the longest."""
    labels = [e["label"] for e in examples]
    batch = {
        "labels": padded(labels, IGNORE) if isinstance(labels[0], Tensor) else torch.tensor(labels),
        "task_ids": torch.tensor([e["task_id"] for e in examples]),
    }
    if "pixel_values" in examples[0]:
        batch["pixel_values"] = torch.stack([e["pixel_values"] for e in examples])
    else:
        ids = [e["input_ids"] for e in examples]
        batch["input_ids"] = padded(ids, padding_id)
        lengths = torch.tensor([len(i) for i in ids])
        batch["attention_mask"] = (torch.arange(int(lengths.max()))[None] < lengths[:, None]).long()
        if "token_type_ids" in examples[0]:
            batch["token_type_ids"] = padded([e["token_type_ids"] for e in examples], 0)
    return {key: upload(value, device) for key, value in batch.items()}


def padded(rows: Sequence[Tensor], value: float) -> Tensor:
    """Tensors (length, ...) of different lengths as one (rows, longest, ...), filled up with ``value``."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def upload(value: Tensor, device: torch.device) -> Tensor:
    """The host's ``value`` on ``device``; nothing waits for the copy: from pinned memory it goes on beside the work."""
    return (value.pin_memory() if device.type == "cuda" else value).to(device, non_blocking=True)


def pad_left(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a model reads of tokens (examples, tokens), each row's padding moved from its end to its start."""
    mask = inputs["attention_mask"]
    width = mask.shape[1]
    padding = width - mask.sum(1, keepdim=True)
    source = (torch.arange(width, device=mask.device)[None] - padding) % width
    return {key: value.gather(1, source) for key, value in inputs.items()}


def concatenate(first: Batch, second: Batch, padding_id: int) -> Batch:
    """Two batches as one, what has a value a token padded to the longer."""
    filling = {"input_ids": padding_id, "labels": IGNORE}
    joined = {}
    for key in first:
        a, b = first[key], second[key]
        if a.ndim > 1 and a.shape[1:] != b.shape[1:]:
            width = max(a.shape[1], b.shape[1])
            a, b = (_widened(x, width, filling.get(key, 0)) for x in (a, b))
        joined[key] = torch.cat([a, b])
    return joined


def _widened(values: Tensor, width: int, filling: float) -> Tensor:
    """``values`` (examples, length, ...) with ``filling`` up to the length ``width``."""
    beside = [0, 0] * (values.ndim - 2)
    return torch.nn.functional.pad(values, [*beside, 0, width - values.shape[1]], value=filling)


def training_batches(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    """One epoch's batches of example numbers in a seeded order, each batch of similar lengths.

    Args:
        lengths: tokens of each example.
        batch_size: examples a batch; the last one may be smaller.
        generator: the stream of this task's and epoch's data order.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    window = batch_size * BUCKET_BATCHES
    batches = []
    for start in range(0, len(order), window):
        bucket = sorted(order[start : start + window], key=lambda i: lengths[i])
        batches += [bucket[i : i + batch_size] for i in range(0, len(bucket), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def pass_budget(examples: Sequence[Example], device: torch.device) -> int:
    """Tokens of texts, or images, that one pass outside training takes on ``device``."""
    if examples and "pixel_values" in examples[0]:
        image: Tensor = examples[0]["pixel_values"]
        return max(1, PIXEL_BUDGET.get(device.type, PIXEL_BUDGET["cuda"]) // image.nbytes)
    return TOKEN_BUDGET.get(device.type, TOKEN_BUDGET["cuda"])


def sorted_batches(examples: Sequence[Example], budget: int) -> Iterator[list[int]]:
    """Batches of example numbers for a pass outside training, longest first; see :func:`pass_budget`."""
    return evaluation_batches([length(example) for example in examples], budget)


def evaluation_batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Batches of example numbers sorted by length, each of at most ``token_budget`` tokens with padding."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > token_budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
