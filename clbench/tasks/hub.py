"""Data sets as the library ``datasets`` loads them: from the hub, from a folder laid out as it is, or from files."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.errors import InputError, unknown
from clbench.files import expand

if TYPE_CHECKING:
    import datasets

BUILDERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


def hub_splits(source: str, root: str = "", revision: str | None = None) -> Mapping[str, datasets.Dataset]:
    """The splits of a data set of the hub, by name.

    Args:
        source: hub:OWNER/NAME or hub:OWNER/NAME:CONFIG.
        root: a folder that holds OWNER/NAME as the hub does, which is read instead.
        revision: a branch or commit of the hub's.

    Raises:
        InputError: it cannot be loaded; names it.
    """
    name, config = hub_id(source)
    if not root:
        found = loaded(source, lambda library: library.load_dataset(name, config, revision=revision))
    else:
        place = expand(root, "root") / name
        if not os.path.isdir(place):
            raise InputError(f"root={root} holds no folder {name}; allowed: a folder with {name} as the hub has it")
        found = loaded(str(place), lambda library: library.load_dataset(str(place), config))
    return dict(found)


def file_splits(files: Mapping[str, str], root: str) -> Mapping[str, datasets.Dataset]:
    """The splits of a data set that is files below ``root``, one a split, by name.

    Raises:
        InputError: a file is missing or cannot be loaded; names it.
    """
    return {split: _from_file(expand(root, "root") / file) for split, file in files.items()}


def _from_file(place: Path) -> datasets.Dataset:
    if not os.path.isfile(place):
        raise InputError(f"there is no file {str(place)!r}")
    if place.suffix not in BUILDERS:
        raise unknown(f"format of {place}:", place.suffix, BUILDERS)
    given = {"data_files": str(place), "split": "train"}
    return loaded(str(place), lambda library: library.load_dataset(BUILDERS[place.suffix], **given))


def hub_id(source: str) -> tuple[str, str | None]:
    """The data set and the configuration that ``hub:OWNER/NAME:CONFIG`` names.

    Raises:
        InputError: it is no such id.
    """
    found = re.fullmatch(r"hub:((?:[\w.-]+/)?[\w.-]+)(?::([^:\s]+))?", source)
    if not found:
        raise InputError(f"{source!r} is no hub id; allowed: hub:OWNER/NAME or hub:OWNER/NAME:CONFIG")
    return found[1], found[2]


def loaded(source: str, load: Callable[[Any], Any]) -> Any:
    """What ``load`` makes of the library ``datasets``.

    Raises:
        InputError: ``source`` cannot be loaded; one line, whatever the library raises.
    """
    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; what came of them is told
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        return load(datasets)
    except Exception as error:  # the library raises many kinds, the hub's client's among them
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{source} cannot be loaded with datasets: {type(error).__name__}: {reason}") from error
