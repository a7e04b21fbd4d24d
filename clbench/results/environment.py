"""What environment.json records: where the numbers of a run come from."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import clbench

PACKAGES = ("torch", "transformers", "datasets", "peft", "accelerate", "safetensors", "numpy", "scikit-learn")
# What the names of environment variables begin with that libraries read.
LIBRARIES = (
    *("ACCELERATE_", "ATEN_", "CUBLAS_", "CUDA_", "CUDNN_", "DNNL_", "FBGEMM_", "GOMP_", "KMP_", "MKLDNN_", "MKL_"),
    *("NCCL_", "NPY_", "NVIDIA_", "OMP_", "ONEDNN_", "OPENBLAS_", "PYTORCH_", "TORCHDYNAMO_", "TORCHINDUCTOR_"),
    *("TORCH_", "TRANSFORMERS_", "TRITON_"),
)
# Distributions that a run uses where they are installed.
OPTIONAL = ("avalanche-lib",)


def describe_environment(
    data_sha256: dict[str, str], model_sha256: str, hardware: Mapping[str, str | int]
) -> dict[str, Any]:
    """What environment.json holds: command, commit, versions, hardware, hashes of data and model."""
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "command": " ".join(["python -m clbench", *sys.argv[1:]]),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if changes is None else bool(changes),
        "versions": {"clbench": clbench.__version__, "python": platform.python_version(), **_versions()},
        "hardware": dict(hardware),
        "variables": {name: os.environ[name] for name in sorted(os.environ) if _matters(name)},
        "model_sha256": model_sha256,
        "data_sha256": data_sha256,
    }


@cache  # a process does not see another version of what it has imported
def _versions() -> dict[str, str]:
    versions = {name: metadata.version(name) for name in PACKAGES}
    return versions | {name: version for name in OPTIONAL if (version := _installed_version(name))}


def _installed_version(distribution: str) -> str | None:
    """The version of an installed distribution; a folder that is called like its module is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _matters(name: str) -> bool:
    """Whether an environment variable may speed up, slow down or change what libraries compute; none with secrets."""
    return name.startswith(LIBRARIES) and "TOKEN" not in name


def _git(*arguments: str) -> str | None:
    """The output of git in clbench's own checkout, None where that is no checkout or git is not installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:  # the program is not installed: the commit is not known, which is what None says
        return None
    return done.stdout.strip() if done.returncode == 0 else None
