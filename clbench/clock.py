"""Seconds by purpose."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Clock:
    """Adds up the seconds spent on each purpose ("train", "fisher", "eval"), and on everything ("wall").

    Args:
        detailed: measure the parts of a step too; on a GPU that makes every step wait for its queue.
        device: whose queue is waited for; None for none.
    """

    def __init__(self, detailed: bool = False, device: torch.device | None = None) -> None:
        self.detailed, self.device = detailed, device
        self.started = self._mark = time.perf_counter()
        self.seconds: dict[str, float] = {}
        self._purposes: list[str] = []

    @contextmanager
    def measure(self, purpose: str) -> Iterator[None]:
        """Count the time inside the ``with`` block, without that of blocks within it; waits for a GPU at both ends."""
        self._count()
        self._purposes.append(purpose)
        try:
            yield
        finally:
            self._count()
            self._purposes.pop()

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """The time inside the ``with`` block counts nowhere: others are told, and that is no part of a run's cost."""
        self._count()
        begun = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - begun
            self.started += passed
            self._mark += passed

    def _count(self) -> None:
        """Add the time since the last call to the innermost purpose."""
        self._synchronise()
        now = time.perf_counter()
        if self._purposes:
            purpose = self._purposes[-1]
            self.seconds[purpose] = self.seconds.get(purpose, 0.0) + now - self._mark
        self._mark = now

    def part(self, purpose: str) -> AbstractContextManager[None]:
        """As :meth:`measure` when ``detailed``, else nothing: for what happens in every step."""
        return self.measure(purpose) if self.detailed else nullcontext()

    def read(self) -> dict[str, float]:
        """The seconds so far, of open blocks too; "wall" since this clock was made and what :meth:`resume` brought."""
        self._count()
        return {**self.seconds, "wall": self.seconds.get("wall", 0.0) + time.perf_counter() - self.started}

    def resume(self, seconds: dict[str, float]) -> None:
        """Go on from what an interrupted run had spent."""
        self.seconds = dict(seconds)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Count ``seconds`` by purpose, "wall" among them, beside what is measured; less where they are below 0."""
        for purpose, value in seconds.items():
            self.seconds[purpose] = self.seconds.get(purpose, 0.0) + value

    def _synchronise(self) -> None:
        if self.device is not None and self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)
