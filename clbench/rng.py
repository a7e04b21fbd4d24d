"""Separate random streams, each derived by name from the run's seed, so that no part of a run can shift another's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on the run's ``seed`` and on the stream's ``names`` only.

    Args:
        seed: the run's seed.
        names: what the stream is for, e.g. ``("data order", "movie", epoch)``.
    """
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator for the stream ``names``; see :func:`stream_seed`."""
    import torch  # those who only name a stream need not wait for it

    return torch.Generator().manual_seed(stream_seed(seed, *names))


@contextmanager
def seeded_torch(device: torch.device, seed: int, *names: str | int) -> Iterator[None]:
    """Inside, torch's own generators of the CPU and of ``device`` are the stream ``names``; then they are as before.

    No other GPU is touched: to ask for a GPU's state takes half a gigabyte of it.
    """
    import torch

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(stream_seed(seed, *names))
        yield
