"""Makes the stand-in for a GPU a device of torch, once in a process; nothing else in the process changes by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration

from clbench.conformance.double_tensor import NAME, Double, aten, each, run
from clbench.conformance.double_watch import note
from clbench.errors import InputError

# The registration, the dispatcher's keys and the list of fused operations are no public API of torch's.
TORCH = "2.13"
# What autocast computes in the low precision, and what in fp32; the part of CUDA's lists that models here use.
LOW = (
    *("mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "einsum"),
    *("conv2d", "convolution", "scaled_dot_product_attention"),
)
FULL = (
    *("softmax.int", "log_softmax.int", "layer_norm", "cosine_similarity", "cumsum", "rsqrt", "exp", "norm.Scalar"),
    *("mse_loss", "nll_loss", "cross_entropy_loss", "kl_div", "pow.Tensor_Scalar", "sum", "sum.dim_IntList"),
)
_kept: list[Any] = []  # libraries live as long as the process


def check_torch(version: str) -> None:
    """Refuse a torch that the stand-in was not made for.

    Raises:
        InputError: names both versions.
    """
    if version.split(".")[:2] != TORCH.split("."):
        raise InputError(
            f"the device 'double' uses private parts of torch {TORCH} and torch {version} is installed; allowed: "
            f"torch {TORCH}, as in constraints.txt, or a check without --device double"
        )


def install() -> None:
    """Make "sim" a device of torch.

    Raises:
        InputError: another version of torch is installed than the one that this was made for.
    """
    if _kept:
        return
    check_torch(metadata.version("torch"))
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    lib = torch.library.Library("aten", "IMPL")
    _kept.append(lib)
    for name, operation in _factories():
        try:
            lib.impl(name, _by_double(operation), "PrivateUse1")
        except RuntimeError:
            continue  # composite: it is made of others
    # What a GPU has a kernel for, and torch makes of other operations, which round otherwise, for any other device.
    lib.impl("silu_backward", _by_double(aten.silu_backward.default), "PrivateUse1")
    # Where torch itself keeps Python out, as torch.tensor(..., device=...) does.
    for operation in (aten._copy_from.default, aten._copy_from_and_resize.default):
        lib.impl(operation.name().removeprefix("aten::"), _by_double(operation), "PrivateUse1")
    _autocast()
    # torch compares types exactly before it takes its fused ways.
    torch.utils._foreach_utils._foreach_supported_types.append(Double)  # type: ignore[arg-type]


def _by_double(operation: Any) -> Callable[..., Any]:
    def make(*args: Any, **kwargs: Any) -> Any:
        return run(operation, args, kwargs)

    return make


def _factories() -> Iterator[tuple[str, Any]]:
    """Every operation of torch that makes a tensor of nothing: a device, and no tensor to take it from."""
    for schema in torch._C._jit_get_all_schemas():
        names = {argument.name for argument in schema.arguments}
        tensors = any("Tensor" in str(argument.type) for argument in schema.arguments)
        if schema.name.startswith("aten::") and "device" in names and not tensors:
            packet = getattr(aten, schema.name[6:], None)
            operation = getattr(packet, schema.overload_name or "default", None) if packet is not None else None
            if operation is not None:
                yield schema.name[6:] + (f".{schema.overload_name}" if schema.overload_name else ""), operation


def _autocast() -> None:
    rest = torch.library.Library("_", "IMPL")
    rest.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    lib = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
    _kept.extend((rest, lib))

    def caster(operation: Any, low: bool) -> Callable[..., Any]:
        def cast(*args: Any, **kwargs: Any) -> Any:
            dtype = torch.get_autocast_dtype(NAME) if low else torch.float32

            def one(x: Tensor) -> Tensor:
                fits = isinstance(x, Double) and x.is_floating_point() and x.dtype != torch.float64 and x.dtype != dtype
                return x.to(dtype) if fits else x

            with torch._C._DisableAutocast():
                return operation(*each(one, args), **each(one, kwargs))

        return cast

    for names, low in ((LOW, True), (FULL, False)):
        for name in names:
            base, _, overload = name.partition(".")
            lib.impl(name, caster(getattr(getattr(aten, base), overload or "default"), low))


class _Module:
    """What torch asks of a device's module; its random numbers are drawn by the host's generator."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def _lazy_init(self) -> None:
        pass

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def set_device(self, device: Any) -> None:
        pass

    def manual_seed_all(self, seed: int) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        pass

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        pass

    def synchronize(self, device: Any = None) -> None:
        note("synchronize", "synchronize")

    def empty_cache(self) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]
