"""Images of the pinned packages, and of one that is installed, all there are, in the files' order.

Each reader gives uint8 pixels (examples, channels, height, width) and each image's label as a position in the names.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import pickletools
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from clbench.errors import RunError
from clbench.sources.cache import read

if TYPE_CHECKING:
    import numpy as np

DIGITS = tuple("0123456789")
ANIMALS = ("bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra")
GARMENTS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
DEBIAN = "dataset-fashion-mnist"
FASHION = Path("/usr/share/datasets/fashion-mnist")  # where the package puts its files
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IDX_HEADER = 4  # bytes: two of zero, the type, the number of dimensions; then four for each dimension


def mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The handwritten digits of MNIST, 28 by 28; ``split`` is ``train`` (60,000) or ``test`` (10,000)."""
    pixels, targets = (_idx(read("mnist", file)) for file in idx_files(split))
    return pixels[:, None], targets.astype("int64")


def fashion(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The garments of Fashion-MNIST, 28 by 28, in MNIST's format; ``split`` is ``train`` (60,000) or ``test`` (10,000).

    Raises:
        RunError: Debian's package is not installed, or a file of it is damaged.
    """
    pixels, targets = (_idx(_unzipped(FASHION / f"{file}.gz")) for file in idx_files(split))
    return pixels[:, None], targets.astype("int64")


def idx_files(split: str) -> tuple[str, str]:
    """The names of MNIST's files of images and of labels; ``split`` is ``train`` or ``test``."""
    part = "train" if split == "train" else "t10k"
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


def animals() -> tuple[np.ndarray, np.ndarray]:
    """The 10,000 silhouettes of animals of animal-mnist, 28 by 28, 1,000 of each of `ANIMALS`.

    The files are pickled arrays. They are not unpickled, which could run code: their largest string of bytes is the
    array.
    """
    import numpy as np

    pixels = np.frombuffer(_pickled_bytes("animal_data_version_3.gz"), "uint8").reshape(-1, 1, 28, 28)
    return pixels, np.frombuffer(_pickled_bytes("animal_label_version_3.gz"), "<i8")


def cifar() -> tuple[np.ndarray, np.ndarray]:
    """The 10,000 test images of CIFAR-10, 32 by 32 with three colours, 1,000 of each of `CIFAR`."""
    import numpy as np
    from PIL import Image

    examples = json.loads(read("bigbench", "cifar10.json"))["examples"]
    images = (Image.open(io.BytesIO(base64.b64decode(example["input"]))) for example in examples)
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images]).transpose(0, 3, 1, 2)
    names = (max(example["target_scores"], key=example["target_scores"].get) for example in examples)
    return pixels, np.array([CIFAR.index(name) for name in names])


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 handwritten digits of scikit-learn, 8 by 8, their 17 shades stretched to 0..255."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    return (loaded.images[:, None] * (255 / 16)).round().astype("uint8"), loaded.target


def _unzipped(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        told = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise RunError(f"Fashion-MNIST: {str(path)!r} {told}; needed: Debian's package {DEBIAN}") from None


def _idx(content: bytes) -> np.ndarray:
    """The bytes of an IDX file in its shape."""
    import numpy as np

    dimensions = content[IDX_HEADER - 1]
    end = IDX_HEADER * (1 + dimensions)
    return np.frombuffer(content, "uint8", offset=end).reshape(np.frombuffer(content[IDX_HEADER:end], ">i4"))


def _pickled_bytes(file: str) -> bytes:
    """The largest string of bytes in a gzipped pickle, whose instructions are read and not followed."""
    operations = pickletools.genops(gzip.decompress(read("animal-mnist", file)))
    return max((value for _, value, _ in operations if isinstance(value, bytes)), key=len)
