"""What the host of the stand-in for a GPU waits for, and what it uploads: counted by kind, operation and line."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

Key = tuple[str, str, str]
"""A kind ("item", "nonzero", ...), an operation and the line that asked for it, "folder/file.py:number"."""

# Uploads of pinned memory that nothing waits for; every other kind of upload does.
FREE = "upload"
_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)
_OURS = str(Path(__file__).parents[1])


@dataclass
class Watch:
    """What was seen since it began: every wait of the host for the device, and every upload."""

    waits: Counter[Key] = field(default_factory=Counter)
    uploads: Counter[Key] = field(default_factory=Counter)

    @property
    def blocking(self) -> Counter[Key]:
        """The uploads that the host waits for."""
        return Counter({key: count for key, count in self.uploads.items() if key[0] != FREE})

    def __iadd__(self, other: Watch) -> Watch:
        self.waits.update(other.waits)
        self.uploads.update(other.uploads)
        return self


_watches: list[Watch] = []
_lock = threading.Lock()


@contextmanager
def watch() -> Iterator[Watch]:
    """Count inside; watches may be nested."""
    seen = Watch()
    with _lock:
        _watches.append(seen)
    try:
        yield seen
    finally:
        with _lock:  # not remove(): two watches that have seen the same are equal
            _watches[:] = [other for other in _watches if other is not seen]


def note(kind: str, operation: Any, *, upload: bool = False) -> None:
    """Count a wait, or an upload, of who called; what the conformance checks themselves ask for is left out."""
    if not _watches:
        return
    file, place = _asking()
    if file.startswith(_HERE):
        return
    with _lock:
        for seen in _watches:
            (seen.uploads if upload else seen.waits)[kind, str(operation), place] += 1


def caller() -> str:
    """The innermost line outside torch and the stand-in; before it, where it is a library's, the line that called."""
    return _asking()[1]


def _asking() -> tuple[str, str]:
    """The file of :func:`caller`'s line, and the line."""
    frame, nearest = sys._getframe(2), ""
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_TORCH, f"{_HERE}/double_")):
            place = "/".join(file.split("/")[-2:]) + f":{frame.f_lineno}"
            if file.startswith(_OURS) or not any(part in file for part in ("site-packages", "lib/python")):
                return file, f"{place} > {nearest}" if nearest else place
            nearest = nearest or place
        frame = frame.f_back  # type: ignore[assignment]
    return "", nearest
