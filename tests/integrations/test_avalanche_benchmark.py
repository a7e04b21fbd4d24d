"""A scenario as a benchmark of Avalanche's, and a benchmark of Avalanche's as tasks."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

if not os.environ.get("CI") and importlib.util.find_spec("avalanche") is None:
    pytest.skip("avalanche-lib is not installed", allow_module_level=True)

from clbench import plugins
from clbench.errors import InputError
from clbench.integrations.avalanche.benchmark import _content, avalanche_benchmark, tasks_from_benchmark
from clbench.integrations.avalanche.catalogue import import_avalanche
from clbench.models.loading import load_model
from clbench.plugins.plan import make_plan
from clbench.scenario import Scenario
from clbench.tasks.checks import check_tasks

SIZES = {"train": 9, "dev": 3, "test": 6}


def toy(setting: str) -> tuple[Scenario, Any]:
    plan = make_plan({"scenario": "toy", "strategy": "naive", "setting": setting, "scenario_args": SIZES})
    tasks = plan.tasks
    tokenizer = load_model(plan.config, tasks, 9, torch.device("cpu")).tokenizer
    return plugins.build("scenario", "toy", SIZES, setting=setting), tokenizer


def line_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tensors(images: Sequence[float], classes: Sequence[int]) -> Any:
    """Images of 2 by 2 pixels of one brightness each, as a data set of Avalanche's."""
    utils = import_avalanche("benchmarks.utils")
    pixels = torch.tensor(images)[:, None, None].repeat(1, 2, 2)
    data = TensorDataset(pixels, torch.tensor(classes))
    return utils.AvalancheDataset([data], data_attributes=[utils.DataAttribute(list(classes), "targets")])


def benchmark(**streams: list[Any]) -> Any:
    return import_avalanche("benchmarks").benchmark_from_datasets(**streams)


def brightness(split: Any) -> list[float]:
    images = split.with_format("numpy")["image"][:]
    assert images.shape[1:] == (1, 2, 2)
    assert (images.reshape(len(images), -1).std(1) == 0).all()
    return [round(float(value), 4) for value in images[:, 0, 0, 0]]


@pytest.mark.parametrize(
    ("setting", "task_labels", "second"), [("task", [0, 1, 2], 3), ("class", [0] * 3, 3), ("domain", [0] * 3, 0)]
)
def test_a_scenario_becomes_a_benchmark(setting: str, task_labels: list[int], second: int) -> None:
    scenario, tokenizer = toy(setting)
    made = avalanche_benchmark(scenario, tokenizer, max_length=12)
    assert sorted(made.streams) == ["test", "train", "valid"]
    tasks = scenario.tasks()
    for stream, split in (("train", "train"), ("valid", "dev"), ("test", "test")):
        experiences = list(made.streams[stream])
        assert [e.current_experience for e in experiences] == [0, 1, 2]
        assert [e.task_label for e in experiences] == task_labels
        assert [len(e.dataset) for e in experiences] == [SIZES[split]] * 3
        for number, row in enumerate(getattr(tasks[1], split)):
            ids, column, task_label = experiences[1].dataset[number]
            assert int(column) == second + row["label"]
            assert task_label == task_labels[1]
            expected = tokenizer(row["text"], truncation=True, max_length=12)["input_ids"]
            assert ids[: len(expected)].tolist() == expected
            assert set(ids[len(expected) :].tolist()) <= {-1}
    second_one = made.train_stream[1]
    assert second_one.classes_in_this_experience == {second, second + 1, second + 2}
    assert second_one.previous_classes == {0, 1, 2}


def test_texts_need_a_tokenizer() -> None:
    assert "needs a tokenizer" in line_of(avalanche_benchmark, toy("task")[0])


def test_texts_come_back() -> None:
    scenario, tokenizer = toy("task")

    def to_text(ids: torch.Tensor) -> str:
        return str(tokenizer.decode(ids[ids >= 0], skip_special_tokens=True))

    names = [label for task in scenario.tasks() for label in task.labels]
    back = tasks_from_benchmark(
        avalanche_benchmark(scenario, tokenizer, max_length=20), 0, label_names=names, to_text=to_text
    )
    check_tasks(back, "task")
    for one, other in zip(scenario.tasks(), back, strict=True):
        assert one.labels == other.labels
        for split in SIZES:
            assert other.splits[split]["label"] == one.splits[split]["label"]
            assert other.splits[split]["text"] == one.splits[split]["text"]


def test_images_come_back() -> None:
    scenario = plugins.build("scenario", "digits_seq", {}, seed=0, setting="class")
    back = tasks_from_benchmark(avalanche_benchmark(scenario), 0, setting="class")
    check_tasks(back, "class")
    for one, other in zip(scenario.tasks(), back, strict=True):
        assert one.labels == other.labels
        for split in SIZES:
            expected, images = (t.splits[split].with_format("numpy")["image"][:] for t in (one, other))
            assert np.array_equal(expected, images)


def test_inputs_that_occur_twice_are_cleared_up() -> None:
    # .3 occurs twice; .4 is in test too; .5 has two labels.
    train = tensors([0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.5, 0.6], [0, 1, 0, 0, 1, 0, 1, 1])
    test = tensors([0.4, 0.9, 0.9], [1, 0, 0])
    first, _ = tasks_from_benchmark(benchmark(train=[train, train], test=[test, test]), 0, dev=0.5)
    assert first.labels == ("0", "1")
    assert sorted(brightness(first.train) + brightness(first.dev)) == [0.1, 0.2, 0.3, 0.6]
    assert brightness(first.test) == [0.4, 0.9]
    assert sorted(first.train["label"]) == sorted(first.dev["label"]) == [0, 1]  # the same share of each label


def test_dev_is_a_seeded_share_or_the_stream_valid() -> None:
    train = tensors([i / 50 for i in range(40)], [i % 2 for i in range(40)])
    test = tensors([0.9, 0.95], [0, 1])
    plain = benchmark(train=[train] * 2, test=[test] * 2)
    one, again, other = (tasks_from_benchmark(plain, seed, dev=0.2)[0] for seed in (0, 0, 1))
    assert brightness(one.dev) == brightness(again.dev) != brightness(other.dev)
    assert sorted(one.dev["label"]) == [0] * 4 + [1] * 4
    assert not set(brightness(one.dev)) & set(brightness(one.train))
    valid = tensors([0.02, 0.99], [1, 0])
    given = tasks_from_benchmark(benchmark(train=[train] * 2, valid=[valid] * 2, test=[test] * 2), 0)[0]
    assert brightness(given.dev) == [0.02, 0.99]
    assert 0.02 not in brightness(given.train)
    assert len(given.train) == 39


def test_the_setting_decides_on_the_labels() -> None:
    zero = tensors([0.1, 0.2, 0.3, 0.4], [0, 0, 3, 3])
    one = tensors([0.5, 0.6, 0.7, 0.8], [1, 1, 10, 10])
    test = [tensors([0.9, 0.95], [0, 3]), tensors([0.91, 0.96], [1, 10])]
    split = benchmark(train=[zero, one], test=test)
    assert [task.labels for task in tasks_from_benchmark(split, 0, setting="class")] == [("0", "3"), ("1", "10")]
    names = [chr(ord("a") + number) for number in range(11)]
    tasks = tasks_from_benchmark(split, 0, setting="task", label_names=names)
    assert [task.labels for task in tasks] == [("a", "d"), ("b", "k")]
    permuted = benchmark(train=[zero, zero], test=[test[0], test[0]])
    check_tasks(tasks_from_benchmark(permuted, 0, setting="domain"), "domain")


def test_what_cannot_be_read_is_refused() -> None:
    data = tensors([0.1, 0.2], [0, 1])
    assert "stream of an Avalanche benchmark 'test'" in line_of(tasks_from_benchmark, benchmark(train=[data]), 0)
    uneven = benchmark(train=[data, data], test=[data])
    assert "differ in length: [1, 2]" in line_of(tasks_from_benchmark, uneven, 0)
    both = benchmark(train=[data], test=[data])
    assert "dev=1" in line_of(tasks_from_benchmark, both, 0, dev=1)
    assert "unknown setting 'tsak'; did you mean 'task'?" in line_of(tasks_from_benchmark, both, 0, setting="tsak")
    assert "only 1 label names" in line_of(tasks_from_benchmark, both, 0, label_names=["a"])
    scenario, tokenizer = toy("task")
    line = line_of(tasks_from_benchmark, avalanche_benchmark(scenario, tokenizer), 0)
    assert "train experience 0 has an input that is a torch.int64 of shape" in line


SCENARIO = '''
"""Nine shades of grey in two tasks."""

import torch
from torch.utils.data import TensorDataset

from clbench.integrations.avalanche.benchmark import tasks_from_benchmark
from clbench.integrations.avalanche.catalogue import import_avalanche
from clbench import Scenario


class Greys(Scenario):
    kind = "image"
    settings = ("class",)
    defaults = {"model": "tiny", "epochs": 1}

    def tasks(self):
        images = torch.rand(80, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        classes = torch.arange(80) % 4
        images[:, :, 0] = classes[:, None, None] / 4
        parts = {"train": slice(0, 60), "test": slice(60, 80)}
        data = {}
        for name, part in parts.items():
            data[name] = TensorDataset(images[part], classes[part])
            data[name].targets = classes[part].tolist()
        utils = import_avalanche("benchmarks.utils")
        data = {name: utils.as_classification_dataset(part) for name, part in data.items()}
        benchmark = import_avalanche("benchmarks").class_incremental_benchmark(
            data, class_order=[0, 1, 2, 3], num_experiences=2
        )
        return tasks_from_benchmark(benchmark, seed=self.seed, setting=self.setting)
'''


@pytest.mark.parametrize("strategy", ["naive", "avalanche.Replay(mem_size=10)"])
def test_a_benchmark_of_avalanches_runs_as_a_scenario(
    run_toy: Callable[..., Any], tmp_path: Path, strategy: str
) -> None:
    file = tmp_path / "greys.py"
    file.write_text(SCENARIO)
    options = {"scenario": str(file), "scenario_args": {}, "setting": "class", "epochs": 8}
    result, _ = run_toy(strategy, output=tmp_path, **options)
    assert result["tasks"] == ["experience 0", "experience 1"]
    assert result["accuracy_matrix"][1][0] > 0.8


def test_pictures_become_fractions() -> None:
    from PIL import Image

    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    colour = _content(Image.fromarray(pixels), None, "")
    assert np.array_equal(colour, pixels.transpose(2, 0, 1).astype(np.float32) / 255)
    grey = _content(Image.fromarray(pixels[:, :, 0]), None, "")
    assert np.array_equal(grey, pixels[None, :, :, 0].astype(np.float32) / 255)
