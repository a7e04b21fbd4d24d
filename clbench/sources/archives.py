"""Reads single members of wheels, zip files and tar files, each checked against its pinned size and hash.

Nothing is imported, executed or unpacked as a whole.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from clbench.errors import RunError
from clbench.files import open_file

CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """A file in an archive: its path there, its size in bytes and, where it is pinned on its own, its sha256.

    ``inside`` is the member that is itself the archive holding this one, if the file lies in an archive in an archive.
    ``name`` is what it is called outside; left empty, its name in the archive.
    """

    path: str
    size: int
    sha256: str = ""
    inside: Member | None = None
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or PurePosixPath(self.path).name)


def file_sha256(path: Path) -> str:
    """The sha256 of a file as hexadecimal digits."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_member(archive: Path, member: Member) -> bytes:
    """The bytes of ``member``.

    Raises:
        RunError: the member is missing, is not a file, or has not its pinned size or hash.
    """
    target = io.BytesIO()
    copy_member(archive, member, target)
    return target.getvalue()


def copy_member(archive: Path, member: Member, target: IO[bytes]) -> None:
    """Write ``member`` to ``target`` piece by piece, never more than its pinned size; errors as `read_member`."""
    digest = hashlib.sha256()
    size = 0
    for chunk in _pieces(archive, member):
        size += len(chunk)
        if size > member.size:
            break
        digest.update(chunk)
        target.write(chunk)
    if size != member.size:
        more = "more than " if size > member.size else ""
        raise RunError(f"{archive.name}: {member.path} has {more}{min(size, member.size)} bytes, not {member.size}")
    if member.sha256 and digest.hexdigest() != member.sha256:
        raise RunError(f"{archive.name}: {member.path} has the sha256 {digest.hexdigest()}, not {member.sha256}")


def _pieces(archive: Path, member: Member) -> Iterator[bytes]:
    """The bytes of ``member``, piece by piece, at most one more than its pinned size; errors as `read_member`.

    A generator, so that what goes wrong where the pieces are written is not taken for an error of reading.
    """
    try:
        with _container(archive, member) as container:
            if zipfile.is_zipfile(container):
                with zipfile.ZipFile(container) as zipped, zipped.open(member.path) as file:
                    yield from _read(file, member.size + 1)
            else:
                container.seek(0)
                with tarfile.open(fileobj=container) as tarred:
                    extracted = tarred.extractfile(member.path)
                    if extracted is None:
                        raise RunError(f"{archive.name}: {member.path} is not a file")
                    yield from _read(extracted, member.size + 1)
    except KeyError:
        raise RunError(f"{archive.name} has no member {member.path}") from None
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise RunError(f"cannot read {member.path} of {archive.name}: {error}") from error


def _read(file: IO[bytes], most: int) -> Iterator[bytes]:
    while most and (piece := file.read(min(CHUNK, most))):
        most -= len(piece)
        yield piece


def _container(archive: Path, member: Member) -> io.BufferedIOBase:
    return open_file(archive) if member.inside is None else io.BytesIO(read_member(archive, member.inside))
