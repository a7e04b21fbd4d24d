"""Where a run happens: its device, precision and memory, and what the machine is."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import re
import sys
from pathlib import Path

import torch

from clbench.errors import InputError, unknown
from clbench.models import ranks
from clbench.models.model_kinds import MADE_ON_THE_SPOT
from clbench.sources import split_model_name

DEVICE = r"cpu|cuda(:[0-9]{1,3})?"
# Environment variables by which libraries take other kernels: sums in another order, or, on a GPU, of fewer digits.
KERNELS = {
    "cpu": (
        *("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES"),
        *("NPY_ENABLE_CPU_FEATURES", "OPENBLAS_CORETYPE"),
        *(
            f"{prefix}_{name}"
            for name in ("CPU_ISA_HINTS", "DEFAULT_FPMATH_MODE", "MAX_CPU_ISA")
            for prefix in ("DNNL", "ONEDNN")
        ),
    ),
    "cuda": ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
}
# Kinds of GPU that torch knows and clbench has never run on; MPS also lacks fp64, which several strategies solve in.
OTHERS = {"mps": "Apple's GPU (MPS)", "xpu": "Intel's GPU (XPU)"}


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one that torch calls "cuda": NVIDIA's, or AMD's under ROCm.

    Raises:
        InputError: not ``auto``, ``cpu``, ``cuda`` or ``cuda:n``, or a GPU that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if kind := OTHERS.get(name.partition(":")[0]):
        raise InputError(f"device {name!r}: {kind} is not supported yet; allowed: auto, cpu, cuda, cuda:0")
    if not re.fullmatch(DEVICE, name):
        raise unknown("device", name, ("auto", "cpu", "cuda", "cuda:0"))
    if name == "cuda" and ranks.count() > 1:
        name = f"cuda:{ranks.on_this_machine()}"  # a GPU each
    if not device_is_there(name):
        raise InputError(
            f"device {name!r} is not there: torch sees {torch.cuda.device_count()} GPUs; allowed: auto, cpu"
        )
    return torch.device(name)


def device_is_there(name: str) -> bool:
    """Whether ``name`` is a device that this machine has."""
    if not re.fullmatch(DEVICE, name):
        return False
    device = torch.device(name)
    return device.type == "cpu" or (device.index or 0) < torch.cuda.device_count()


def unused_accelerator(device: torch.device) -> str | None:
    """What this machine has and a run on ``device`` leaves idle because it is not supported; None where nothing is."""
    here = torch.accelerator.current_accelerator(check_available=True) if device.type == "cpu" else None
    return OTHERS.get(here.type) if here is not None else None


def device_name(device: torch.device) -> str:
    """What the records call ``device``: the GPU's own name, or "cpu", and how many of them train one model."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return name if ranks.count() == 1 else f"{ranks.count()} x {name}"


def refuse_several_processes() -> None:
    """Refuse to be one of several processes that have not met: each would do all of a run, and write the same folder.

    Raises:
        InputError: a launcher's variables say that there are several, or ask accelerate for another way to train.
    """
    for name in ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS"):
        if ranks.count() == 1 and os.environ.get(name, "1").strip() not in ("", "0", "1"):
            raise InputError(
                f"{name}={os.environ[name]} says that this is one of several processes; only `run` and `resume` are "
                f"that, started by torchrun or accelerate launch: start it without a launcher, or unset {name}"
            )
    for name in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_MEGATRON_LM"):
        if os.environ.get(name, "").lower() in ("1", "true", "yes", "on"):
            raise InputError(
                f"{name}={os.environ[name]} is not for clbench: each process has the whole model; unset it"
            )


def choose_precision(name: str, device: torch.device, model: str) -> str:
    """``auto`` is bf16 where the hardware multiplies it fast (and the model is worth it), else fp32.

    Raises:
        InputError: fp16 on a CPU, where its gradients would underflow.
    """
    if name == "fp16" and device.type == "cpu":
        raise InputError("precision 'fp16' needs a GPU; allowed on a CPU: auto, fp32, bf16")
    if name != "auto":
        return name
    name, _ = split_model_name(model)
    # On CPUs the convolutions of the last are slower in bf16.
    if name in MADE_ON_THE_SPOT or (device.type == "cpu" and name == "efficientnet_lite0"):
        return "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring :func:`peak_memory` anew, where the system lets us."""
    if device.type == "cuda":
        torch.cuda.init()  # before it has begun there is nothing to reset, which torch takes for a wrong device
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


def release_memory() -> None:
    """Give back to the system what a finished run no longer needs, so that the next one's peak is its own."""
    gc.collect()  # models and strategies know each other
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # glibc keeps freed memory, half a GiB more with each run


def describe_hardware(device: torch.device, precision: str) -> dict[str, str | int]:
    """What environment.json says of the machine: device, processor, threads, precision, system.

    And ``kernels``, where environment variables choose them.
    """
    chosen = [f"{name}={os.environ[name]}" for name in KERNELS.get(device.type, ()) if os.environ.get(name)]
    return {
        "device": device_name(device),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "system": platform.system(),
        **({"kernels": ", ".join(chosen)} if chosen else {}),
    }


def processor(field: str = "model name") -> str:
    """What Linux says of the processor, elsewhere what Python knows."""
    info = Path("/proc/cpuinfo")
    found = re.search(rf"{field}\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor()
