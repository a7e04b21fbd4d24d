"""Images of tasks that differ in size and channels, brought to one shape; what is no image."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from clbench.errors import InputError
from clbench.kinds import Part, common_shape, find_kind, in_shape
from clbench.kinds.image import read_image
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


# --- image files


def test_image_files_as_pixels(tmp_path: Path) -> None:
    """8 bits are a 255th each, 16 bits of grey a 65535th; colour becomes grey by Rec. 601, grey all three channels."""
    grey = np.array([[0, 51], [102, 255]], dtype="uint8")
    colour = np.stack([grey, grey // 3, np.zeros_like(grey)], axis=-1)
    deep = np.array([[0, 13107], [32768, 65535]], dtype="uint16")
    opaque = np.dstack([colour, np.full_like(grey, 255)])
    for name, pixels in (("grey", grey), ("colour", colour), ("deep", deep), ("opaque", opaque)):
        Pillow.fromarray(pixels).save(tmp_path / f"{name}.png")

    def read(name: str, channels: int) -> Any:
        return read_image(str(tmp_path / f"{name}.png"), "here", channels)

    np.testing.assert_allclose(read("grey", 1), [[[0, 0.2], [0.4, 1]]], atol=1e-7)
    np.testing.assert_array_equal(read("grey", 3), np.repeat(read("grey", 1), 3, axis=0))
    np.testing.assert_allclose(read("colour", 3)[1], [[0, 17 / 255], [34 / 255, 85 / 255]], atol=1e-7)
    weighed = 0.299 * colour[..., 0] + 0.587 * colour[..., 1]
    np.testing.assert_allclose(read("colour", 1)[0], weighed / 255, atol=0.5 / 255)
    np.testing.assert_allclose(read("deep", 1), [[[0, 0.2], [32768 / 65535, 1]]], atol=1e-7)
    np.testing.assert_array_equal(read("opaque", 3), read("colour", 3))


def test_a_photo_is_read_the_right_way_up(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # a quarter turn to the right is still to be made
    pixels = np.zeros((8, 16), dtype="uint8")
    pixels[:, 8:] = 255
    Pillow.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    image = read_image(str(tmp_path / "photo.jpg"), "here", 1)
    assert image.shape == (1, 16, 8)
    assert image[0, :7].max() < 0.1
    assert image[0, 9:].min() > 0.9


def test_a_large_image_is_averaged_where_a_small_one_was_trained_on() -> None:
    """Every pixel counts: stripes of black and white are grey at half the size, and not what is hit."""
    stripes = torch.zeros(1, 1, 16, 16)
    stripes[..., ::2] = 1
    small = in_shape(stripes, (1, 4, 4))
    torch.testing.assert_close(small[..., 1:3], torch.full((1, 1, 4, 2), 0.5), atol=0.05, rtol=0)
