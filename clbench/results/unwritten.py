"""The run's folder as processes see it that do not write: the first of a run that several processes train does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from clbench.results.folder import RunFolder


class UnwrittenFolder(RunFolder):
    """Reads as its base does, where there is something to read, and writes nothing."""

    def create(self) -> None:
        """Nothing."""

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Nothing."""

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Nothing."""

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Nothing."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The first process has the lock."""
        yield

    def remove_result(self) -> None:
        """Nothing."""

    def remove_models(self) -> None:
        """Nothing."""

    def cut_log(self, rows: int) -> None:
        """Nothing."""

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Nothing."""

    def write_predictions(self, columns: Mapping[str, Sequence[Any]]) -> str:
        """Nothing, so that there is nothing to hash."""
        return ""

    def write_curve(self, columns: Mapping[str, Sequence[Any]]) -> str:
        """Nothing, so that there is nothing to hash."""
        return ""
