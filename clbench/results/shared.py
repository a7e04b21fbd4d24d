"""The folder of what the runs of one command share, in their results folder, where there is room for checkpoints."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from clbench.files import remove_path, safe_name

BEGINNING = ".clbench-shared-"
LOCK = "owner.lock"


@contextmanager
def shared_folder(output_dir: Path) -> Iterator[Path | None]:
    """A new empty folder in ``output_dir`` that is removed at the end; None where it cannot be made.

    What a killed process of this machine left is removed, too. Nothing is ever read from another command's folder.
    """
    ours = f"{BEGINNING}{safe_name(platform.node())}-"
    with ExitStack() as entered:
        folder = None
        with suppress(
            OSError, ValueError, NotImplementedError
        ):  # no room, or a file system without locks: each run does all
            os.makedirs(output_dir, exist_ok=True)
            for left in output_dir.glob(f"{ours}*"):
                _remove_if_nobodys(left)
            made = Path(
                entered.enter_context(TemporaryDirectory(dir=output_dir, prefix=ours, ignore_cleanup_errors=True))
            )
            entered.enter_context(FileLock(made / LOCK))
            folder = made
        yield folder


def _remove_if_nobodys(folder: Path) -> None:
    """Remove ``folder`` unless the process that made it lives, which holds its lock."""
    with suppress(Timeout), FileLock(folder / LOCK, timeout=0):
        remove_path(folder)
