"""Images of tasks that differ in size and channels, brought to one shape; what is no image."""

import datasets
import numpy as np
import pytest
import torch

from clbench.errors import InputError
from clbench.kinds import Part, common_shape, find_kind
from clbench.scenario import Task
from clbench.tasks import image_dataset
from clbench.tasks.checks import check_tasks

KIND = find_kind("image")


def images(*shape: int, value: float = 0.5) -> datasets.Dataset:
    return image_dataset(np.full((2, *shape), value, dtype="float32"), [0, 1])


def test_all_have_the_most_channels_and_the_greatest_size() -> None:
    grey, colour = images(1, 4, 2), images(3, 2, 6)
    assert common_shape([grey, colour]) == (3, 4, 6)
    parts = [Part(data, ("a", "b"), (0, 1), position) for position, data in enumerate((grey, colour))]
    for examples in KIND.encode(parts, None, 0).examples:
        for example in examples:
            assert torch.equal(example["pixel_values"], torch.full((3, 4, 6), 0.5))


def test_a_small_image_is_enlarged_bilinearly() -> None:
    """Two pixels 0 and 1 on four: their centres lie at a quarter and three quarters of the way."""
    data = image_dataset(np.array([[[[0.0, 1.0]]], [[[1.0, 0.0]]]], dtype="float32"), [0, 1])
    parts = [Part(data, ("a", "b"), (0, 1), 0), Part(images(1, 1, 4), ("a", "b"), (0, 1), 1)]
    found = KIND.encode(parts, None, 0).examples[0][0]["pixel_values"]
    assert found.flatten().tolist() == [0.0, 0.25, 0.75, 1.0]


BAD = {
    "task 'one': train has images of 2 channels; allowed: 1 (grey) or 3 (RGB)": images(2, 3, 3),
    "task 'one': train has images of 4 channels; allowed: 1 (grey) or 3 (RGB)": images(4, 3, 3),  # with alpha
    "task 'one': train has pixels from 300 to 300; allowed: 0 to 1": images(1, 3, 3, value=300.0),  # of 16 bits
    "task 'one': train has images that are not floats of one size; allowed: channels, height, width": (
        datasets.Dataset.from_dict({"image": [[[1, 2]], [[3, 4]]], "label": [0, 1]})
    ),
}


@pytest.mark.parametrize("line", BAD)
def test_what_is_no_image_is_a_line(line: str) -> None:
    splits = [images(1, 3, 3, value=value) for value in (0.1, 0.2, 0.3)]
    other = Task("two", "image", ("a", "b"), *splits)
    with pytest.raises(InputError) as caught:
        check_tasks([Task("one", "image", ("a", "b"), BAD[line], *splits[1:]), other], "task")
    assert str(caught.value) == line
