"""What Ray knows of clbench: this file's few lines travel as they are, and bring the rest with them.

Nothing of clbench is imported here, for on a node there is none, or another version.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import pickle
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Switch:
    """Tells the runs on all nodes, or one of them, that they are to save their state and end."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.alone: dict[str, int] = {}

    def stop(self, number: int, run: str | None = None) -> None:
        """Signal ``number`` came; for ``run`` alone where one is named."""
        if run is None:
            self.number = number
        else:
            self.alone[run] = number

    def stopped(self, run: str) -> int | None:
        """The signal, if one came for ``run``."""
        return self.number or self.alone.get(run)


def make_run(code: bytes, errand: bytes, tasks: bytes, switch: Any, name: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Make a run on this node; what it tells, and at the end what it came to.

    Args:
        code: the package clbench, as a tar file.
        errand: a pickled :class:`clbench.parallel.errand.Errand`.
        tasks: the pickled tasks.
        switch: the actor of a :class:`Switch`, which knows this run by ``name``.
    """
    _put_on_path(code)
    from clbench.parallel.errand import run_errand  # the one that has just been put there

    # Not ray.get: while a task waits in it, Ray gives its cores to others.
    yield from run_errand(pickle.loads(errand), tasks, lambda: switch.stopped.remote(name).future())


def _put_on_path(code: bytes) -> None:
    """Unpack ``code`` once for this process, which Ray gives the next run, too."""
    name = f"clbench-code-{hashlib.sha256(code).hexdigest()[:16]}-"
    if not any(Path(place).name.startswith(name) for place in sys.path):
        folder = tempfile.mkdtemp(prefix=name)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        with tarfile.open(fileobj=io.BytesIO(code)) as tar:
            tar.extractall(folder, filter="data")
        sys.path.insert(0, folder)
