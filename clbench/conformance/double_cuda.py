"""The stand-in for a GPU under CUDA's name: what asks for "cuda" runs on it, pinning, autocast and the scaler too.

    with as_cuda(), watch() as seen:
        run({"scenario": "toy", "strategy": "ewc", "device": "cuda"})
    print(seen.waits, seen.blocking)

Not covered: streams and their order, kernels of a GPU's own and their determinism, memory and its end, TF32,
torch.compile, more than one device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

from clbench.conformance.double_backend import install
from clbench.conformance.double_backward import guarded
from clbench.conformance.double_tensor import NAME, Double, sim
from clbench.conformance.double_watch import note


class PretendedCuda:
    """What ``torch.cuda`` answers while :func:`as_cuda` is on; not initialised until something initialises it."""

    def __init__(self, count: int, capability: tuple[int, int]) -> None:
        self.count, self.capability, self.initialised = count, capability, False

    def reset_peak(self, index: int) -> None:
        """As torch's own, which fails where CUDA is not initialised yet."""
        if not self.initialised:
            raise RuntimeError(f"Invalid device argument {index}: did you call init?")

    def synchronize(self, device: Any = None) -> None:
        """A wait."""
        self.initialised = True
        note("synchronize", f"torch.cuda.synchronize({'' if device is None else device})")

    def attributes(self) -> dict[str, Any]:
        """The functions of ``torch.cuda`` by name."""

        def started(value: Any) -> Callable[..., Any]:
            def answer(*_: Any, **__: Any) -> Any:
                self.initialised = True
                return value() if callable(value) else value

            return answer

        def idle(*_: Any, **__: Any) -> None:
            return None

        ignored = ("set_rng_state", "manual_seed_all", "manual_seed", "empty_cache", "set_device")
        return {
            **dict.fromkeys(ignored, idle),
            "is_available": lambda: True,
            "device_count": lambda: self.count,
            "is_initialized": lambda: self.initialised,
            "is_bf16_supported": lambda *_, **__: True,
            "_lazy_init": started(None),
            "current_device": started(0),
            "get_device_name": started("pretended"),
            "get_device_capability": started(self.capability),
            "get_rng_state": started(torch.get_rng_state),
            "max_memory_allocated": started(1),
            "memory_allocated": started(1),
            "synchronize": self.synchronize,
        }


class _CudaNames(torch.overrides.TorchFunctionMode):
    """Every call of torch that names "cuda" gets the pretended device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("device") is not None:
            kwargs["device"] = sim(kwargs["device"])
        name = getattr(func, "__name__", "")
        if name == "to":
            args = tuple(sim(x) if isinstance(x, torch.device | str) else x for x in args)
        elif name == "cuda":
            return args[0].to(f"{NAME}:0", non_blocking=kwargs.get("non_blocking", False))
        elif name == "pin_memory":
            pinned = args[0].clone()
            pinned._pinned = True
            return pinned
        return func(*args, **kwargs)


@contextmanager
def as_cuda(count: int = 1, capability: tuple[int, int] = (9, 0)) -> Iterator[PretendedCuda]:
    """Inside, ``torch.cuda`` is there, "cuda" means the pretended device and its tensors say that they are on "cuda".

    Args:
        count: how many GPUs ``torch.cuda`` says that there are; all are the same one.
        capability: what it says of their generation.

    Raises:
        InputError: another version of torch is installed than the one that this was made for.
    """
    install()
    cuda, begin, names = PretendedCuda(count, capability), torch.autocast.__init__, _CudaNames()

    def autocast(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        begin(self, NAME if device_type == "cuda" else device_type, *args, **kwargs)

    def asked(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda device="cuda", *rest: real(NAME if device == "cuda" else device, *rest)

    # Inside a call of its own torch leaves the mode of names out: backward passes are given it again.
    run_backward = guarded(torch.autograd.graph._engine_run_backward, names)
    with ExitStack() as patches:
        for patch in (
            mock.patch.multiple(torch.cuda, **cuda.attributes()),
            mock.patch.object(torch._C, "_cuda_resetPeakMemoryStats", cuda.reset_peak, create=True),
            mock.patch.object(torch.autograd.graph, "_engine_run_backward", run_backward),
            mock.patch.object(torch.autograd, "_engine_run_backward", run_backward),
            mock.patch.object(torch.autocast, "__init__", autocast),
            mock.patch.object(torch, "is_autocast_enabled", asked(torch.is_autocast_enabled)),
            mock.patch.object(torch, "get_autocast_dtype", asked(torch.get_autocast_dtype)),
            mock.patch.object(torch.accelerator, "current_accelerator", return_value=torch.device("cuda")),
            mock.patch("torch.cuda.amp.common.amp_definitely_not_available", return_value=False),
            mock.patch.object(Double, "device", property(lambda _: torch.device("cuda", 0)), create=True),
            mock.patch.object(Double, "is_cuda", True, create=True),
            names,
        ):
            patches.enter_context(patch)
        yield cuda
