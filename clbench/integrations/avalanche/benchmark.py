"""A clbench scenario as a benchmark of Avalanche's, and a benchmark of Avalanche's as tasks of clbench.

A scenario of your own from one of Avalanche's benchmarks is one file::

    \"""Avalanche's split MNIST.\"""

    from clbench import Scenario, Task
    from clbench.integrations.avalanche import import_avalanche, tasks_from_benchmark


    class SplitMNIST(Scenario):
        kind = "image"
        settings = ("task", "class")

        def tasks(self) -> list[Task]:
            benchmark = import_avalanche("benchmarks.classic").SplitMNIST(
                5, fixed_class_order=list(range(10)), train_transform=None, eval_transform=None
            )
            return tasks_from_benchmark(benchmark, seed=self.seed, setting=self.setting)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from clbench.data import Example, LabelSpace, length
from clbench.errors import InputError, unknown
from clbench.integrations.avalanche.catalogue import import_avalanche
from clbench.integrations.avalanche.model import stack_inputs
from clbench.kinds import Part, find_kind
from clbench.scenario import Scenario, Task
from clbench.strategy import ALL_SETTINGS
from clbench.tasks import check_tasks, image_dataset, label_space, splits, text_dataset

STREAMS = {"train": "train", "dev": "valid", "test": "test"}
Row = tuple[Any, str]


def make_experience(examples: Sequence[Example], position: int, labels: LabelSpace, width: int) -> Any:
    """Examples of one task as an experience of Avalanche's.

    Its items are (input, label's column, task label). The task label is the task's position in the setting ``task``
    and 0 elsewhere, as in Avalanche's own benchmarks.

    Args:
        examples: tokenised texts or images.
        position: the task's place in the sequence.
        labels: the scenario's.
        width: tokens to which texts are padded (with -1, see ``stack_inputs``).
    """
    utils, scenarios = import_avalanche("benchmarks.utils"), import_avalanche("benchmarks.scenarios")
    columns = [example["label"] for example in examples]
    task_label = position if labels.setting == "task" else 0
    tensors = TensorDataset(stack_inputs(examples, width), torch.tensor(columns))
    attributes = [
        utils.DataAttribute(columns, "targets"),
        utils.DataAttribute([task_label] * len(columns), "targets_task_labels", use_in_getitem=True),
    ]
    dataset = utils.TaskAwareSupervisedClassificationDataset([tensors], data_attributes=attributes)
    experience = scenarios.DatasetExperience(dataset=dataset, current_experience=position)
    experience.task_label, experience.task_labels = task_label, [task_label]
    seen: set[int] = {column for earlier in labels.columns[:position] for column in earlier}
    own = set(labels.columns[position])
    experience.classes_in_this_experience = own
    experience.previous_classes, experience.classes_seen_so_far = seen, seen | own
    experience.future_classes = set(range(len(labels.names))) - seen - own
    return experience


def avalanche_benchmark(scenario: Scenario, tokenizer: Any = None, *, max_length: int = 64) -> Any:
    """``scenario`` as an Avalanche benchmark with the streams ``train``, ``valid`` and ``test``.

    Args:
        scenario: of texts or images, in any setting.
        tokenizer: of transformers' kind; None for images.
        max_length: tokens after which a text is cut.

    Returns:
        A ``CLScenario`` with an experience a task; for its items see :func:`make_experience`. Texts are padded to the
        longest one; ``AvalancheModel`` reads them.

    Raises:
        InputError: texts without a tokenizer, or tasks that clbench would refuse too.
    """
    scenarios = import_avalanche("benchmarks.scenarios")
    tasks = check_tasks(scenario.tasks(), scenario.setting)
    if tasks[0].kind not in ("text", "image"):
        raise InputError(f"Avalanche has no benchmark of {tasks[0].kind} tasks; allowed: text, image")
    if tasks[0].kind == "text" and tokenizer is None:
        raise InputError("a text scenario needs a tokenizer to become a benchmark of Avalanche's")
    if "text_pair" in tasks[0].train.column_names:
        raise InputError("AvalancheModel reads no pairs of texts; allowed: tasks without a text_pair")
    labels = label_space(tasks, scenario.setting)
    parts = [
        Part(getattr(task, split), task.labels, labels.columns[i], i)
        for split in STREAMS
        for i, task in enumerate(tasks)
    ]
    examples = iter(find_kind(tasks[0].kind).encode(parts, tokenizer, max_length).examples)
    encoded = {stream: [next(examples) for _ in tasks] for stream in STREAMS.values()}
    width = max(length(e) for stream in encoded.values() for examples in stream for e in examples)
    return scenarios.CLScenario(
        [
            scenarios.EagerCLStream(
                name, [make_experience(examples, i, labels, width) for i, examples in enumerate(stream)]
            )
            for name, stream in encoded.items()
        ]
    )


def tasks_from_benchmark(
    benchmark: Any,
    seed: int,
    *,
    setting: str = "task",
    label_names: Sequence[str] | None = None,
    dev: float = 0.15,
    to_text: Callable[[Any], str] | None = None,
) -> list[Task]:
    """The experiences of an Avalanche benchmark as tasks, in their order.

    Inputs that occur twice are kept once, those of ``test`` are taken out of the rest, and those with two different
    labels are left out.

    Args:
        benchmark: with the streams ``train`` and ``test``, and ``valid`` if it has one; items start with (input,
            class number). Inputs are images, floats in 0..1 of (channels, height, width) or (height, width), or texts.
        seed: which training examples are for dev where there is no stream ``valid``.
        setting: ``domain`` gives every task all classes; otherwise a task has those that its experience has.
        label_names: a name for each class number; by default the number.
        dev: share of the training examples for dev, 0..1, where there is no stream ``valid``.
        to_text: makes a text of an input that is none, such as token ids.

    Raises:
        InputError: a stream is missing or of another length, or an input is neither a text nor an image.
    """
    if setting not in ALL_SETTINGS:
        raise unknown("setting", setting, ALL_SETTINGS)
    if not 0 < dev < 1:
        raise InputError(f"dev={dev} is not allowed; allowed: more than 0, less than 1")
    streams = benchmark.streams
    for name in ("train", "test"):
        if name not in streams:
            raise unknown("stream of an Avalanche benchmark", name, streams)
    read = {
        split: [
            _rows(experience, label_names, to_text, f"{stream} experience {i}") for i, experience in enumerate(exps)
        ]
        for split, stream, exps in ((s, n, streams[n]) for s, n in STREAMS.items() if n in streams)
    }
    if len(sizes := {len(rows) for rows in read.values()}) > 1:
        raise InputError(f"the streams of an Avalanche benchmark differ in length: {sorted(sizes)}; allowed: one")
    everything = [row for stream in read.values() for rows in stream for row in rows]
    tasks = []
    for position in range(len(read["train"])):
        own = {split: stream[position] for split, stream in read.items()}
        rows = everything if setting == "domain" else [row for part in own.values() for row in part]
        tasks.append(_task(f"experience {position}", own, _names(rows, label_names), dev, seed))
    return tasks


def _rows(
    experience: Any, label_names: Sequence[str] | None, to_text: Callable[[Any], str] | None, where: str
) -> list[Row]:
    """Content and label of each of the experience's items, as they are for evaluation."""
    data = experience.dataset.eval()
    items = [data[number] for number in range(len(data))]
    numbers = [int(item[1]) for item in items]
    if label_names is not None and max(numbers) >= len(label_names):
        raise InputError(f"{where} has the class {max(numbers)}, but there are only {len(label_names)} label names")
    labels = [label_names[number] if label_names is not None else str(number) for number in numbers]
    return [(_content(item[0], to_text, where), label) for item, label in zip(items, labels, strict=True)]


def _content(value: Any, to_text: Callable[[Any], str] | None, where: str) -> str | np.ndarray:
    if to_text is not None:
        return to_text(value)
    if isinstance(value, str):
        return value
    if hasattr(value, "getbands"):  # a picture of Pillow's, which Avalanche's data sets hold without a transform
        pixels = np.asarray(value, dtype=np.float32) / 255
        return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim in (2, 3):
        image: np.ndarray = value.float().numpy()
        return image if image.ndim == 3 else image[None]
    kind = f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
    raise InputError(f"{where} has an input that is a {kind}; allowed: texts, images of floats, others with to_text")


def _key(content: str | np.ndarray) -> str | bytes:
    return splits.same_text(content) if isinstance(content, str) else content.tobytes()


def _names(rows: Sequence[Row], label_names: Sequence[str] | None) -> tuple[str, ...]:
    """The labels that occur, in the order of their class numbers."""
    present = {label for _, label in rows}
    return tuple(sorted(present, key=int if label_names is None else label_names.index))


def _task(name: str, own: dict[str, list[Row]], names: tuple[str, ...], dev: float, seed: int) -> Task:
    test = splits.deduplicate(own["test"], _key)
    taken = [content for content, _ in own["test"]]
    if "dev" in own:
        for_dev = splits.deduplicate(own["dev"], _key, taken)
        train = splits.deduplicate(own["train"], _key, [*taken, *(content for content, _ in own["dev"])])
    else:
        rows = splits.deduplicate(own["train"], _key, taken)
        shares = {label: min(max(1, round(n * dev)), n - 1) for label, n in splits.count_labels(rows, names).items()}
        counts = {label: (n - shares[label], shares[label], 0) for label, n in splits.count_labels(rows, names).items()}
        train, for_dev, _ = splits.draw(rows, counts, random.Random(f"{seed}/{name}"))
    if isinstance(test[0][0], str):
        return Task(name, "text", names, *(text_dataset(part, names) for part in (train, for_dev, test)))
    datasets = (
        image_dataset(np.stack([image for image, _ in part]), [names.index(label) for _, label in part])
        for part in (train, for_dev, test)
    )
    return Task(name, "image", names, *datasets)
