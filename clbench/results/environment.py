"""What environment.json records: where the numbers of a run come from."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import clbench

PACKAGES = ("torch", "transformers", "datasets", "peft", "accelerate", "safetensors", "numpy", "scikit-learn")
# Distributions that a run uses where they are installed, and the modules that they bring.
OPTIONAL = {"avalanche-lib": "avalanche"}


def describe_environment(
    data_sha256: dict[str, str], model_sha256: str, hardware: Mapping[str, str | int]
) -> dict[str, Any]:
    """What environment.json holds: command, commit, versions, hardware, hashes of data and model."""
    installed = {name for name in OPTIONAL if importlib.util.find_spec(OPTIONAL[name])}
    versions = {name: metadata.version(name) for name in (*PACKAGES, *sorted(installed))}
    return {
        "command": " ".join(["python -m clbench", *sys.argv[1:]]),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"clbench": clbench.__version__, "python": platform.python_version(), **versions},
        "hardware": dict(hardware),
        "model_sha256": model_sha256,
        "data_sha256": data_sha256,
    }


def _git(*arguments: str) -> str | None:
    """The output of git in clbench's own checkout, None where it is installed from a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
