"""Files: opened if they are files, written so that none is half there, named for any system; the cache's place."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import sys
import threading
from pathlib import Path
from typing import Any, cast

from clbench.errors import InputError

MEBIBYTE = 2**20
LARGEST = 64 * MEBIBYTE  # of a file that is read as a whole and is no table; more is another file given by mistake
LARGEST_TABLE = 1024 * MEBIBYTE  # it is held in memory several times
LONGEST_NAME = 120  # of the 255 bytes that file systems allow, so that seed, hashes and temporary names still fit
DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # no file can be called so on Windows


def open_file(path: str | Path, mode: str = "rb") -> io.BufferedIOBase:
    """Open a file and nothing else: no pipe, which would wait for somebody, no device, no folder.

    A link is followed by who reads, and refused to who writes: what it points to is not ours.

    Raises:
        OSError: it cannot be opened; ``strerror`` says what else lies there.
    """
    try:
        return cast(io.BufferedIOBase, open(path, mode, opener=_open_regular))  # the modes are binary ones
    except ValueError as error:  # a NUL character in the path
        raise OSError(errno.EINVAL, str(error), str(path)) from error


def _open_regular(path: str, flags: int) -> int:
    writes = flags & (os.O_WRONLY | os.O_RDWR)
    if writes and os.path.islink(path):
        raise OSError(errno.ELOOP, "it is a link; allowed: a file", path)
    flags |= (getattr(os, "O_NOFOLLOW", 0) if writes else 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, 0o666)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise OSError(errno.EINVAL, f"it is {kind}; allowed: a file", path)
    return descriptor


def read_file(path: str | Path, most: int = LARGEST) -> bytes:
    """The bytes of a file that has at most ``most``; OSError as :func:`open_file`, or where there are more."""
    with open_file(path) as file:
        # Some files, such as those of /proc, have no size before they are read.
        content = b"" if (size := os.fstat(file.fileno()).st_size) > most else file.read(most + 1)
    if max(size, len(content)) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most // MEBIBYTE} MiB", str(path))
    return content


def read_yaml(path: Path, what: str) -> Any:
    """What a YAML (or JSON) file says, read safely.

    Raises:
        InputError: the file, which is called ``what``, cannot be read or is not YAML.
    """
    import yaml

    try:
        text = read_file(path, MEBIBYTE).decode("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{what} {str(path)!r} cannot be read: {error}") from None
    try:
        # A few lines of aliases of aliases can stand for gigabytes.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise InputError(f"{what} {str(path)!r} has an alias (*name); allowed: settings written out")
        return yaml.safe_load(text)
    # Beside its own errors yaml lets those of its conversions through, such as IndexError for !!int "".
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{what} {str(path)!r} is not YAML: {' '.join(str(error).split())}") from None


def expand(text: str | Path, what: str) -> Path:
    """``text`` as a path, ``~`` and ``~user`` replaced; InputError, which names ``what``, for a user without a home."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"{what} {str(text)!r}: {error}; allowed: a path, ~ for your own home folder") from error


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that at every moment, a power cut included, it is the old one or the whole new one.

    The content goes to a temporary file in the same folder, reaches the disk and is then renamed. Text is UTF-8.
    OSError if it cannot be written; the temporary file is then gone.
    """
    temporary = path.parent / f".clbench-{os.getpid()}-{threading.get_ident()}.tmp"
    try:
        if os.path.lexists(temporary):  # a killed process's that had our number, or a link that leads elsewhere
            temporary.unlink()
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def replace_folder(new: Path, folder: Path) -> None:
    """Put the finished folder ``new`` in the place of ``folder``, so that at every moment there is a whole one.

    ``new`` lies beside it. What was there is called ``folder.old`` for a moment, where a process that ends in between
    leaves it. OSError if a file cannot reach the disk or be renamed.
    """
    old = folder.with_name(f"{folder.name}.old")
    for path in [*new.rglob("*"), new]:
        _sync(path)
    if os.path.lexists(folder):
        remove_path(old)
        folder.rename(old)
    new.rename(folder)
    _sync(folder.parent)
    remove_path(old)


def remove_path(path: Path) -> None:
    """Remove a folder with all that is in it, or what else lies in its place; of a link not what it points to."""
    if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    if os.name != "posix" and path.is_dir():
        return  # elsewhere a folder cannot be opened, and the rename is durable by itself
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def safe_name(text: str) -> str:
    """``text`` as the name of one file or folder on any system.

    ASCII letters, digits and ``._+=(),[]'-`` and blanks stay, so ``replay(memory_size=0.05)+ewc`` is itself. Where
    anything had to be changed (separators, other characters, dots or blanks at an end, names of devices, more than 120
    characters) eight hex digits of the text's SHA-256 are added, so that different texts keep different names.
    """
    name = re.sub(r"[^A-Za-z0-9._+=(),\[\]' -]", "_", text)[:LONGEST_NAME]
    name = re.sub(r"^[. ]|[. ]$", "_", name)
    name = f"_{name}" if DEVICE_NAMES.fullmatch(name) else name
    if name == text and name:
        return name
    digits = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9]}-{digits}" if name else digits


def cache_folder() -> Path:
    """``CLBENCH_CACHE``, else the folder ``clbench`` in the platform's cache folder."""
    if chosen := os.environ.get("CLBENCH_CACHE"):
        return expand(chosen, "CLBENCH_CACHE").absolute()
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "clbench"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local") / "clbench" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "clbench"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # a container's user without a name
        raise InputError(f"the cache has no place: {error} Set CLBENCH_CACHE to a folder of yours") from error
