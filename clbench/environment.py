"""Where a run happens: device, precision, memory, and what environment.json records."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import clbench
from clbench.errors import InputError, unknown

if TYPE_CHECKING:
    from clbench.scenario import Task

PACKAGES = ("torch", "transformers", "datasets", "peft", "accelerate", "safetensors", "numpy", "scikit-learn")
# Distributions that a run uses where they are installed, and the modules that they bring.
OPTIONAL = {"avalanche-lib": "avalanche"}


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one.

    Raises:
        InputError: not ``auto``, ``cpu``, ``cuda`` or ``cuda:n``, or a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise unknown("device", name, ("auto", "cpu", "cuda", "cuda:0"))
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {name!r} is not there: torch sees {torch.cuda.device_count()} GPUs; allowed: auto, cpu"
        )
    return device


def choose_precision(name: str, device: torch.device, model: str) -> str:
    """``auto`` is bf16 where the hardware multiplies it fast (and the model is worth it), else fp32.

    Raises:
        InputError: fp16 on a CPU, where its gradients would underflow.
    """
    if name == "fp16" and device.type == "cpu":
        raise InputError("precision 'fp16' needs a GPU; allowed on a CPU: auto, fp32, bf16")
    if name != "auto":
        return name
    if model == "tiny":
        return "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring :func:`peak_memory` anew, where the system lets us."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes: on a GPU the most that tensors took, on a CPU the most that the process had resident."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def data_hash(task: Task) -> str:
    """SHA-256 over a task's labels and all its examples, in order."""
    digest = hashlib.sha256(repr((task.name, task.labels)).encode())
    column = "text" if task.kind == "text" else "image"
    for split in (task.train, task.dev, task.test):
        for content, label in zip(split[column][:], split["label"][:], strict=True):
            digest.update(repr((content, label)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def describe_environment(
    data_sha256: dict[str, str], model_sha256: str, device: torch.device, precision: str
) -> dict[str, Any]:
    """What environment.json holds: command, commit, versions, hardware, hashes of data and model."""
    installed = {name for name in OPTIONAL if importlib.util.find_spec(OPTIONAL[name])}
    versions = {name: metadata.version(name) for name in (*PACKAGES, *sorted(installed))}
    return {
        "command": " ".join(["python -m clbench", *sys.argv[1:]]),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"clbench": clbench.__version__, "python": platform.python_version(), **versions},
        "hardware": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "processor": processor(),
            "threads": torch.get_num_threads(),
            "precision": precision,
            "system": platform.system(),
        },
        "model_sha256": model_sha256,
        "data_sha256": data_sha256,
    }


def _git(*arguments: str) -> str | None:
    """The output of git in clbench's own checkout, None where it is installed from a wheel."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def processor(field: str = "model name") -> str:
    """What Linux says of the processor, elsewhere what Python knows."""
    info = Path("/proc/cpuinfo")
    found = re.search(rf"{field}\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor()
