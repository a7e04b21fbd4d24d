"""How wide the terminal is that an answer is printed on."""

from __future__ import annotations

import shutil
import sys


def terminal_width() -> int | None:
    """Characters in a line of the terminal on stdout; None where it is a file or a pipe, which get all."""
    return shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else None
