"""The scenarios of images and what their packages hold; what needs the large package is among the slow tests."""

import gzip
import importlib
import pickle
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clbench import plugins
from clbench.errors import InputError, RunError
from clbench.scenario import Task
from clbench.sources import images
from clbench.tasks import draw_images
from clbench.tasks.checks import check_tasks
from tests.scenarios.packages import need

image_seq: Any = importlib.import_module("clbench.scenarios.image_seq")
split_cifar: Any = importlib.import_module("clbench.scenarios.split_cifar")
split_mnist: Any = importlib.import_module("clbench.scenarios.split_mnist")
split_fashion_mnist: Any = importlib.import_module("clbench.scenarios.split_fashion_mnist")
permuted_mnist: Any = importlib.import_module("clbench.scenarios.permuted_mnist")


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch) -> Any:
    """MNIST, read once for all tests."""
    need(("mnist", "animal-mnist"))
    read = once(images.mnist)
    monkeypatch.setattr(images, "mnist", read)
    return read


@pytest.fixture
def some_mnist(mnist: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The first 2,000 images of both of MNIST's files."""

    def read(split: str) -> tuple[np.ndarray, np.ndarray]:
        pixels, targets = mnist(split)
        return pixels[:2000], targets[:2000]

    monkeypatch.setattr(images, "mnist", read)
    return read


@cache
def once(read: Any) -> Any:
    return cache(read)


def pixels(task: Task, split: str) -> np.ndarray:
    found: np.ndarray = task.splits[split].with_format("numpy")["image"][:]
    return found


def test_mnist_is_whole_and_reads_as_known(mnist: Any) -> None:
    (train, targets), (test, held_out) = mnist("train"), mnist("test")
    assert (train.shape, test.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    # The numbers of each digit that MNIST is known to have.
    assert Counter(targets.tolist()) == dict(enumerate((5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)))
    assert Counter(held_out.tolist()) == dict(enumerate((980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)))
    assert targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # Known as the data's mean and standard deviation.
    shares = np.bincount(train.reshape(-1), minlength=256) / train.size
    shades = np.arange(256) / 255
    assert shares @ shades == pytest.approx(0.1307, abs=1e-4)
    assert shares @ shades**2 - (shares @ shades) ** 2 == pytest.approx(0.3081**2, abs=1e-4)


@pytest.mark.usefixtures("mnist")
def test_animals_are_read_without_unpickling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle, "loads", None)
    monkeypatch.setattr(pickle, "load", None)
    silhouettes, targets = images.animals()
    assert silhouettes.shape == (10000, 1, 28, 28)
    assert Counter(targets.tolist()) == dict.fromkeys(range(10), 1000)
    # Silhouettes are white on black; only zebras have stripes in grey.
    grey = ((silhouettes > 40) & (silhouettes < 215)).mean((1, 2, 3))
    shares = [grey[targets == number].mean() for number in range(10)]
    assert images.ANIMALS[int(np.argmax(shares))] == "zebra"


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    pixels, targets = images.digits()
    loaded = load_digits()
    assert np.abs(pixels[:, 0] / 255 - loaded.images / 16).max() < 0.5 / 255
    assert (targets == loaded.target).all()


def test_a_draw_is_of_distinct_images_balanced_and_fills_up() -> None:
    import random

    made = np.arange(40, dtype="uint8").reshape(10, 1, 2, 2)
    made[9] = made[0]  # equal images of one class
    made[8] = made[4]  # of two classes
    targets = [3, 3, 3, 3, 7, 7, 7, 5, 3, 3]
    train, dev, test = draw_images(made, targets, (7, 3), (9, 1, 2), random.Random(0))
    found = np.concatenate([part.with_format("numpy")["image"][:] for part in (train, dev, test)])
    # Of class 7 images 5 and 6 are left, of class 3 images 0 to 3, of class 5 none are wanted.
    assert {round(float(image[0, 0, 0]) * 255) for image in found} == {0, 4, 8, 12, 20, 24}
    assert (len(train), len(dev), len(test), len(found)) == (3, 1, 2, 6)
    for part in (train, dev, test):
        for row in part:
            assert row["label"] == (0 if row["image"][0][0][0] * 255 > 18 else 1)
    with pytest.raises(InputError, match="dev=3 and test=4 ask for 7 of 6 images"):
        draw_images(made, targets, (7, 3), (1, 3, 4), random.Random(0))


def test_image_seq_without_the_large_package(some_mnist: Any) -> None:
    first, again, other = (image_seq.ImageSequence(small=True, seed=seed) for seed in (0, 0, 1))
    assert first.sources == ("mnist", "animal-mnist")
    tasks = check_tasks(first.tasks(), "class")
    assert [task.name for task in tasks] == ["mnist", "animal", "digits"]
    for task, same, different in zip(tasks, again.tasks(), other.tasks(), strict=True):
        train = 1397 if task.name == "digits" else 1500
        assert [len(data) for data in task.splits.values()] == [train, 200, 200]
        if task.name != "digits":
            assert Counter(task.train["label"]) == dict.fromkeys(range(10), 150)
        assert (pixels(task, "test") == pixels(same, "test")).all()
        assert (pixels(task, "test") != pixels(different, "test")).any()
    held_out = {image.tobytes() for image in some_mnist("test")[0]}
    assert all((image * 255).round().astype("uint8").tobytes() in held_out for image in pixels(tasks[0], "test"))


@pytest.mark.usefixtures("mnist")
def test_split_mnist_has_every_image_in_its_task() -> None:
    tasks = check_tasks(split_mnist.SplitMnist(setting="class").tasks(), "class")
    assert [task.name for task in tasks] == ["0/1", "2/3", "4/5", "6/7", "8/9"]
    # By the counts above: digits 0 and 1 have 5923 + 6742 images, of which 200 are for dev.
    assert [len(data) for data in tasks[0].splits.values()] == [12465, 200, 2115]
    assert sum(len(task.train) + len(task.dev) for task in tasks) == 60000
    assert sum(len(task.test) for task in tasks) == 10000
    assert Counter(tasks[4].test["label"]) == {0: 974, 1: 1009}


def test_split_mnist_by_domain_padded_and_in_the_seeds_order(some_mnist: Any) -> None:
    sizes = {"train": 20, "dev": 4, "test": 10, "order": "seed"}
    small = [split_mnist.SplitMnist(setting="domain", pad=pad, **sizes).tasks() for pad in (False, True)]
    check_tasks(small[0], "domain")
    digits = [int(digit) for task in small[0] for digit in task.name.split("/")]
    assert sorted(digits) == list(range(10)) != digits
    assert [task.name for task in split_mnist.SplitMnist(seed=1, **sizes).tasks()] != [t.name for t in small[0]]
    known = {image.tobytes(): int(digit) for image, digit in zip(*some_mnist("test"), strict=True)}
    for plain, wide in zip(*small, strict=True):
        assert (plain.labels, [len(data) for data in plain.splits.values()]) == (("first", "second"), [20, 4, 10])
        assert pixels(wide, "test").shape == (10, 1, 32, 32)
        assert (pixels(wide, "test")[:, :, 2:-2, 2:-2] == pixels(plain, "test")).all()
        assert pixels(wide, "test").sum() == pytest.approx(pixels(plain, "test").sum())
        for image, label in zip(pixels(plain, "test"), plain.test["label"], strict=True):
            assert known[(image * 255).round().astype("uint8").tobytes()] == int(plain.name.split("/")[label])


def write_idx(path: Path, values: np.ndarray) -> None:
    """In the format of the package's files: two bytes of 0, the type, the dimensions, their sizes; gzipped."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(gzip.compress(header + values.astype("uint8").tobytes()))


def test_split_fashion_mnist_reads_what_debian_installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "FASHION", tmp_path)
    scenario = split_fashion_mnist.SplitFashionMnist(dev=2, setting="class")
    with pytest.raises(RunError) as caught:
        scenario.tasks()
    missing = tmp_path / "train-images-idx3-ubyte.gz"
    needed = "needed: Debian's package dataset-fashion-mnist"
    assert str(caught.value) == f"Fashion-MNIST: {str(missing)!r} is not there; {needed}"
    made = np.random.default_rng(0).integers(0, 256, (60, 28, 28))
    for part, values in (("train", made[:40]), ("t10k", made[40:])):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", values)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(len(values)) % 10)
    tasks = check_tasks(scenario.tasks(), "class")
    assert [task.labels for task in tasks][3:] == [("shirt", "sneaker"), ("bag", "ankle boot")]
    assert [len(data) for data in tasks[0].splits.values()] == [6, 2, 4]
    for image, label in zip((pixels(tasks[4], "test") * 255).round(), tasks[4].test["label"], strict=True):
        (number,) = np.flatnonzero((made == image[0]).all((1, 2)))  # the images of number 8, 18, ... are bags
        assert number % 10 == 8 + label
    missing.write_bytes(missing.read_bytes()[:-9])
    with pytest.raises(RunError, match=r"cannot be read .*; needed: Debian's package"):
        scenario.tasks()


@pytest.mark.skipif(not images.FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_whole_where_it_is_installed() -> None:
    for split, size in (("train", 6000), ("test", 1000)):
        found, targets = images.fashion(split)
        assert found.shape == (10 * size, 1, 28, 28)
        assert Counter(targets.tolist()) == dict.fromkeys(range(10), size)


def test_permuted_mnist_moves_the_pixels_of_a_task_alike(some_mnist: Any) -> None:
    sizes = {"train": 30, "dev": 10, "test": 20}
    tasks = check_tasks(permuted_mnist.PermutedMnist(tasks=3, pad=True, **sizes).tasks(), "domain")
    known = {np.sort(image, None).tobytes(): image for image in some_mnist("test")[0]}
    assert all(task.labels == images.DIGITS for task in tasks)
    seen = []
    for task in tasks:
        moved = (pixels(task, "test").reshape(20, -1) * 255).round().astype("uint8")
        original = np.stack([known[np.sort(image)[240:].tobytes()] for image in moved])  # 240 pixels are the margin's
        original = np.pad(original, ((0, 0), (0, 0), (2, 2), (2, 2))).reshape(20, -1)
        # A pixel's values over the images tell it apart: the same columns, in another order but in the first task.
        assert sorted(map(bytes, moved.T)) == sorted(map(bytes, original.T))
        seen.append((moved == original).all())
    assert seen == [True, False, False]
    longer = permuted_mnist.PermutedMnist(tasks=4, pad=True, **sizes).tasks()
    assert all((pixels(a, "train") == pixels(b, "train")).all() for a, b in zip(tasks, longer, strict=False))


def test_bad_arguments_are_refused_before_anything_is_read() -> None:
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: image_seq.ImageSequence(train=9), "train=9 is not allowed; allowed: 10 or more, one for each label"),
        (lambda: split_cifar.SplitCifar(train=1800), "train=1800, dev=100 and test=200 ask for 2100 images a task"),
        (lambda: split_mnist.SplitMnist(train=1), "train=1 is not allowed; allowed: 2 or more"),
        (lambda: split_mnist.SplitMnist(dev=0), "dev=0 is not allowed; allowed: 1 or more"),
        (lambda: permuted_mnist.PermutedMnist(tasks=1), "tasks=1 is not allowed; allowed: 2 to 100"),
        (lambda: permuted_mnist.PermutedMnist(setting="class"), "its tasks have the same labels"),
    ]
    for make, message in wrong:
        with pytest.raises(InputError, match=message):
            make()


@pytest.mark.parametrize("name", ["image_seq", "split_cifar", "split_mnist", "permuted_mnist", "split_fashion_mnist"])
def test_they_are_described_without_importing_them(name: str) -> None:
    description = plugins.describe("scenario", name)
    assert 20 < len(description.summary) <= 110
    assert "Rights:" in description.doc


@pytest.mark.slow
def test_cifar_in_both_its_scenarios() -> None:
    need(("bigbench", "mnist", "animal-mnist"))
    photographs, targets = images.cifar()
    assert photographs.shape == (10000, 3, 32, 32)
    assert Counter(targets.tolist()) == dict.fromkeys(range(10), 1000)
    tasks = check_tasks(split_cifar.SplitCifar().tasks(), "class")
    assert [task.name for task in tasks][:2] == ["airplane/automobile", "bird/cat"]
    known = {image.tobytes(): images.CIFAR[target] for image, target in zip(photographs, targets, strict=True)}
    for task in tasks:
        for (split, data), size in zip(task.splits.items(), (600, 100, 200), strict=True):
            assert Counter(data["label"]) == {0: size // 2, 1: size // 2}
            for image, label in zip(pixels(task, split), data["label"], strict=True):
                assert known[(image * 255).round().astype("uint8").tobytes()] == task.labels[label]
    names = [task.name for task in check_tasks(image_seq.ImageSequence().tasks(), "class")]
    assert names == ["mnist", "animal", "cifar", "digits"]
    other = split_cifar.SplitCifar(seed=1).tasks()
    assert (pixels(tasks[0], "test") != pixels(other[0], "test")).any()
