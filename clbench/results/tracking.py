"""tracking.json: by which name each tracker knows a run, so that what goes on does so in the same one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from clbench.errors import InputError
from clbench.files import write_atomic
from clbench.results.json_text import read_json, to_json

FILE = "tracking.json"


def read_tracking(folder: Path) -> dict[str, str]:
    """The names by tracker; none where the run in ``folder`` has been told to no tracker.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FILE
    if not os.path.exists(path):
        return {}
    names = read_json(path)
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise InputError(f"{path}: holds no names of trackers; delete the file")
    return names


def write_tracking(folder: Path, names: Mapping[str, str]) -> None:
    """Write the names by tracker into the run's ``folder``.

    Raises:
        OSError: it cannot be written.
    """
    write_atomic(folder / FILE, to_json(names, indent=2))
