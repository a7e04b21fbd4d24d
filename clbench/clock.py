"""Seconds by purpose."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up the seconds spent on each purpose ("train", "fisher", "eval"), and on everything ("wall")."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, purpose: str) -> Iterator[None]:
        """Count the time inside the ``with`` block; waits for a GPU's queue at both ends."""
        _synchronise()
        start = time.perf_counter()
        try:
            yield
        finally:
            _synchronise()
            self.seconds[purpose] = self.seconds.get(purpose, 0.0) + time.perf_counter() - start

    def read(self) -> dict[str, float]:
        """The seconds so far; "wall" since this clock was made and what :meth:`resume` brought."""
        return {**self.seconds, "wall": self.seconds.get("wall", 0.0) + time.perf_counter() - self.started}

    def resume(self, seconds: dict[str, float]) -> None:
        """Go on from what an interrupted run had spent."""
        self.seconds = dict(seconds)


def _synchronise() -> None:
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
