"""Files: writing one so that it is never half there, names that any file system takes, where the cache lies."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import threading
from pathlib import Path

from clbench.errors import InputError

LONGEST_NAME = 120  # of the 255 bytes that file systems allow, so that seed, hashes and temporary names still fit
DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # no file can be called so on Windows


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that at every moment, a power cut included, it is the old one or the whole new one.

    The content goes to a temporary file in the same folder, reaches the disk and is then renamed. Text is UTF-8.
    OSError if it cannot be written; the temporary file is then gone.
    """
    temporary = path.parent / f".clbench-{os.getpid()}-{threading.get_ident()}.tmp"
    try:
        with temporary.open("wb") as file:
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
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    new.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


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
        try:
            return Path(chosen).expanduser().absolute()
        except RuntimeError as error:
            raise InputError(f"CLBENCH_CACHE={chosen!r}: {error}; give a folder that can be written") from error
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "clbench"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "clbench" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clbench"
