"""Finds the finished runs in results folders, and names those that are broken or unfinished."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clbench.errors import InputError
from clbench.results.belonging import check_belonging
from clbench.results.folder import RunFolder
from clbench.results.schema import validate_config
from clbench.text import clean

SEARCH_DEPTH = 3  # results / scenario / strategy / run


@dataclass(frozen=True)
class Run:
    """A complete run: its folder and the contents of result.json (checked) and config.json."""

    folder: Path
    result: dict[str, Any]
    config: dict[str, Any]


def find_runs(paths: Sequence[Path | str]) -> tuple[list[Run], list[str]]:
    """The complete runs in ``paths``, in the order of paths and names, and one line for each one skipped.

    A path is a results, scenario, strategy or run folder or a result.json; a run found twice counts once. Unfinished
    and broken runs are skipped. InputError if a path does not exist.
    """
    runs: list[Run] = []
    skipped: list[str] = []
    seen: set[str] = set()
    for path in map(Path, paths):
        if not os.path.exists(path):
            raise InputError(
                f"no such file or folder: {str(path)!r}; give results folders, run folders or result.json files"
            )
        if path.is_file() and path.name != "result.json":
            raise InputError(f"{str(path)!r} is no run; allowed: result.json or a folder that holds runs")
        for folder in _run_folders(path.parent if path.is_file() else path, SEARCH_DEPTH, skipped):
            real = os.path.realpath(folder)
            if real in seen:
                continue
            seen.add(real)
            try:
                run = _read_run(folder)
            except InputError as error:
                skipped.append(f"skipped: {error}")
                continue
            if run is None:
                skipped.append(f"skipped: {folder}: not finished; go on with: clbench resume {folder}")
            else:
                runs.append(run)
    return runs, [clean(line) for line in skipped]


def find_run(paths: Sequence[Path | str]) -> Run:
    """The one complete run in ``paths``; otherwise as :func:`find_runs`.

    Raises:
        InputError: there is none, or more than one.
    """
    runs, skipped = find_runs(paths)
    where = ", ".join(map(str, paths))
    if len(runs) > 1:
        raise InputError(f"{where} holds {len(runs)} runs; give the folder of one, such as {runs[0].folder}")
    if not runs:
        reason = f"; {skipped[0]}" if skipped else ""
        raise InputError(f"no finished run in {where}{reason}; allowed: a run's folder (`clbench list runs`)")
    return runs[0]


def _run_folders(folder: Path, depth: int, skipped: list[str]) -> Iterator[Path]:
    """Folders with a result.json or a run's config.json, at most ``depth`` levels below; runs are not searched."""
    try:
        with os.scandir(folder) as entries:
            names = {entry.name: os.path.isdir(entry.path) for entry in entries}  # False for a link to itself
    except OSError as error:
        skipped.append(f"skipped: {folder}: {error.strerror}")
        return
    if "result.json" in names or ("config.json" in names and _is_ours(folder)):
        yield folder
    elif depth:
        for name in sorted(name for name, is_dir in names.items() if is_dir and not name.startswith(".")):
            yield from _run_folders(folder / name, depth - 1, skipped)


def _is_ours(folder: Path) -> bool:
    """Whether the config.json in ``folder`` is that of a run (models and other tools have files of this name too)."""
    try:
        return "hash8" in RunFolder(folder).read_config()
    except InputError:
        return False


def _read_run(path: Path) -> Run | None:
    folder = RunFolder(path)
    result = folder.read_result()
    if result is None:
        return None
    config = validate_config(folder.read_config(), path / "config.json")
    check_belonging(path, config, result)
    folder.read_environment()  # what reads it later can rely on it
    return Run(path, result, config)
