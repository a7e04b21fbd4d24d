"""Tensors of the stand-in for a GPU: real numbers, and an error where host and device tensors mix.

``Double`` tensors are wrappers whose device is PyTorch's spare backend (PrivateUse1, here named "sim"). Each holds the
host tensor it stands for, and every operation is run on those by the ordinary CPU kernels: results are the CPU's to the
last bit. What a GPU refuses is refused: tensors of both devices in one operation, a CPU generator for a device tensor,
``numpy()``. What makes a GPU's host wait is counted: ``item``, ``cpu``, ``nonzero``, indexing by booleans, a blocking
upload (``torch.tensor(..., device=...)``, ``.to(device)``, a Python list as index).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Self

import torch
from torch import Tensor

from clbench.conformance.double_backward import keep_back
from clbench.conformance.double_watch import FREE, caller, note

NAME = "sim"
aten = torch.ops.aten
# Operations that wait for their result's size or value.
WAITING = {
    aten._local_scalar_dense.default: "item",
    aten.equal.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "nonzero",
    aten._unique2.default: "unique",
    aten.unique_dim.default: "unique",
    aten.unique_consecutive.default: "unique",
    aten.repeat_interleave.Tensor: "repeat_interleave",
    aten.bincount.default: "bincount",
}
INDEXING = ("aten.index.Tensor", "aten.index_put_.default", "aten.index_put.default", "aten._index_put_impl_.default")
COPIES = (aten.copy_.default, aten._copy_from.default, aten._copy_from_and_resize.default)
# Where a GPU takes a host tensor of no dimensions as a number.
NUMBERS = (aten.fill_.Tensor, aten.masked_fill.Tensor, aten.masked_fill_.Tensor, aten.where.self, *COPIES)


class MixedDevices(RuntimeError):
    """Tensors of host and device met in one operation."""


class Double(torch.Tensor):
    """A tensor on the pretended device; ``host`` has its numbers."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> Self:  # noqa: D102
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=torch.device(NAME, 0),
        )
        made.host = host
        return made

    def __init__(self, host: Tensor) -> None:
        pass

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Double({self.host!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return keep_back(run, func, args, kwargs or {})

    def register_hook(self, hook: Callable[[Tensor], Any]) -> Any:
        """As of any tensor; an error in ``hook`` is raised when the backward pass has ended."""
        return super().register_hook(lambda gradient: keep_back(hook, gradient))  # type: ignore[no-untyped-call]

    def numpy(self, *_: Any, **__: Any) -> Any:
        """Refused, as of a GPU's tensor."""
        raise TypeError(
            "can't convert a device tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
        )

    def tolist(self) -> Any:
        """Its numbers; a wait."""
        note("item", "Tensor.tolist")
        return self.host.tolist()

    def __array__(self, *_: Any, **__: Any) -> Any:
        self.numpy()

    def untyped_storage(self) -> Any:
        """The host tensor's."""
        return self.host.untyped_storage()

    # Assigning to .data swaps what is held; C++ knows nothing of ``host``.
    @property
    def data(self) -> Tensor:
        """The same numbers without a graph."""
        return self.detach()

    @data.setter
    def data(self, new: Tensor) -> None:
        if not isinstance(new, Double):
            raise MixedDevices("the .data of a device tensor was given a host tensor")
        torch.Tensor.data.__set__(self, new)  # type: ignore[attr-defined]
        self.host = new.host


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """``func`` on the host tensors behind ``args``; what a GPU refuses is refused, what its host waits for is noted."""
    # Where no gradients are recorded torch hands over what is made of other operations, too.
    if func is aten.linear.default and _multiplies_all_rows_at_once(*args):
        return _linear(*args)
    if _composite(func):
        return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
    doubles: list[Double] = []
    hosts: list[Tensor] = []

    def take(x: Tensor) -> Tensor:
        if isinstance(x, Double):
            doubles.append(x)
            return x.host
        hosts.append(x)
        return x

    taken, named = [each(take, x) for x in args], each(take, kwargs)
    _check(func, args, doubles, hosts)
    given, here = kwargs.get("device"), torch.device(NAME, 0)
    target = sim(torch.device(given)) if given is not None else here if doubles else torch.device("cpu")
    if (stream := kwargs.get("generator")) is not None and target.type == NAME and stream.device.type != NAME:
        raise RuntimeError(
            f"Expected a {NAME!r} device type for generator but found {stream.device.type!r}, at {caller()}"
        )
    if func in WAITING:
        note(WAITING[func], func)
    if func is aten._to_copy.default and given is not None:
        _transfer(func, args[0], target, bool(kwargs.get("non_blocking")))
    if func in COPIES:
        goal, source = args[:2] if func is aten.copy_.default else (args[1], args[0])
        free = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
        _transfer(func, source, here if isinstance(goal, Double) else goal.device, free)
        if func is not aten.copy_.default:
            taken[1].copy_(taken[0])
            return goal
    if given is not None:
        named["device"] = torch.device("cpu")
    named.pop("pin_memory", None)
    # A view of an ordinary tensor is an ordinary tensor, also where others are made for inference.
    view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
    ordinary = view and torch.is_inference_mode_enabled() and not (doubles and doubles[0].is_inference())
    with torch.inference_mode(False) if ordinary else nullcontext():
        return _wrapped(func, doubles, func(*taken, **named), target)


def each(change: Callable[[Tensor], Any], value: Any) -> Any:
    """``value``, lists and tuples and dicts of anything, with its tensors changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        made = [each(change, item) for item in value]
        return made if isinstance(value, list) else tuple(made)
    return {key: each(change, item) for key, item in value.items()} if isinstance(value, dict) else value


def sim(device: Any) -> Any:
    """``device`` as torch knows the pretended one."""
    if isinstance(device, str) and device.partition(":")[0] not in ("cuda", "cpu", "meta", NAME):
        return device
    given = torch.device(device) if isinstance(device, str | torch.device) else device
    return torch.device(NAME, given.index or 0) if isinstance(given, torch.device) and given.type == "cuda" else device


def _check(func: Any, args: Any, doubles: list[Double], hosts: list[Tensor]) -> None:
    """Note indices that are waited for; refuse host tensors beside a device's, except numbers where a GPU takes one."""
    if not doubles or func in COPIES:
        return
    if str(func) in INDEXING:
        for index in args[1]:
            if isinstance(index, Double) and index.dtype in (torch.bool, torch.uint8):
                note("boolean index", func)
            elif index is not None and not isinstance(index, Double):
                note("host index", func, upload=True)
        hosts = [x for x in args[2:3] if isinstance(x, Tensor) and not isinstance(x, Double) and x.dim()]
        if not isinstance(args[0], Double):
            raise MixedDevices(f"{func}: a host tensor indexed by a device tensor, at {caller()}")
    number = torch.Tag.pointwise in func.tags or func in NUMBERS
    if shapes := [tuple(x.shape) for x in hosts if x.dim() or not number]:
        raise MixedDevices(f"{func}: expected all tensors on the device, found host tensors of {shapes}, at {caller()}")


def _multiplies_all_rows_at_once(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether torch chooses one product because the weight learns, which in inference mode no view of a double says."""
    apart = x.ndim > 2 and (bias is None or not x.is_contiguous())
    return apart and torch.is_inference_mode_enabled() and weight.requires_grad


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    scores = torch.mm(x.reshape(-1, x.shape[-1]), weight.t()).view(*x.shape[:-1], -1)
    return scores if bias is None else scores + bias


@functools.cache
def _composite(func: Any) -> bool:
    """Whether torch makes ``func`` of other operations; what has a kernel beside is computed in one, as on a GPU."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return has(func.name(), "CompositeImplicitAutograd") and not has(func.name(), "CPU")


def _transfer(func: Any, source: Tensor, target: torch.device, non_blocking: bool) -> None:
    """Note a copy between host and device; from pageable memory, and back to the host, it waits."""
    if isinstance(source, Double) and target.type != NAME and source.numel():
        note("copied to host", func)
    elif not isinstance(source, Double) and target.type == NAME and source.numel():
        pinned = getattr(source, "_pinned", False)
        kind = FREE if non_blocking and pinned else "upload, pageable" if non_blocking else "upload, blocking"
        note(kind, func, upload=True)


def _wrapped(func: Any, given: list[Double], out: Any, target: torch.device) -> Any:
    """``out`` as the caller must see it: what was written in place is the caller's own tensor, the rest is wrapped."""
    own = {id(x.host): x for x in given}

    def wrap(x: Tensor) -> Tensor:
        if (mine := own.get(id(x))) is not None:
            if mine.shape != x.shape:
                raise NotImplementedError(f"{func} resized its argument from {tuple(mine.shape)} to {tuple(x.shape)}")
            return mine
        return Double(x) if target.type == NAME else x

    return each(wrap, out)
