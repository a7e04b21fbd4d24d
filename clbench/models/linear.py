"""Linear layers whose fp32 products are oneDNN's where torch's own take a slow path.

On x86 torch gives fp32 products to MKL, which does not use the AVX-512 units of AMD's processors; oneDNN, which comes
with torch as well, does: 190 against 420 GFLOP/s on two cores of Zen 5, the same fp32 arithmetic in another order. On
Zen 4, whose units take two turns for 512 bits, it gains a tenth, and the weights' gradients are left to MKL there.
"""

from __future__ import annotations

import functools
import platform
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from clbench.models.hardware import processor


class OneDNNLinear(nn.Linear):
    """An ``nn.Linear`` that multiplies in fp32 with oneDNN; under autocast or ``--compile`` it is the ordinary one."""

    def forward(self, input: Tensor) -> Tensor:
        """``input`` (..., inputs) times the weights, plus the bias: (..., outputs)."""
        plain = input.dtype == self.weight.dtype == torch.float32 and input.device.type == "cpu"
        elsewhere = torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
        if not plain or elsewhere or input.dim() < 2 or input.numel() == 0:
            return super().forward(input)
        # Flat, so that the output below is an ordinary view: PEFT adds to it in place.
        rows: Tensor = _Linear.apply(input.flatten(0, -2), self.weight, self.bias)  # type: ignore[no-untyped-call]
        return rows.reshape(*input.shape[:-1], self.out_features)


def use_onednn(model: nn.Module) -> None:
    """Make the model's linear layers multiply with oneDNN, in place, where this processor gains by it."""
    if products_are_slow():
        for module in model.modules():
            if type(module) is nn.Linear and module.weight.device.type == "cpu":
                module.__class__ = OneDNNLinear  # not a new layer: hooks, names and copies stay as they are


@functools.cache
def products_are_slow() -> bool:
    """Whether torch's fp32 products leave AVX-512 unused and oneDNN's do not."""
    return (
        platform.machine() == "x86_64"
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and processor("vendor_id") == "AuthenticAMD"
    )


@functools.cache
def units_are_half() -> bool:
    """Whether the AVX-512 units are 256 bits wide, which all of Zen 4 (family 25) have."""
    return processor("cpu family") == "25"


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.has_bias = bias is not None
        return _product(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input, weight = ctx.saved_tensors
        for_input, for_weight, for_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t(), None) if for_input else None,
            _weight_gradient(gradient, input) if for_weight else None,
            gradient.sum(0) if for_bias and ctx.has_bias else None,
        )


def _weight_gradient(gradient: Tensor, input: Tensor) -> Tensor:
    """``gradient`` (rows, outputs) transposed times ``input`` (rows, inputs)."""
    if units_are_half():
        return gradient.t() @ input
    if gradient.shape[1] > input.shape[1]:  # a third faster the other way round, its copy included
        return _product(input.t(), gradient.t(), None).t().contiguous()
    return _product(gradient.t(), input.t(), None)


def _product(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``input`` (m, k) times ``weight`` (n, k) transposed, plus ``bias`` (n,): (m, n)."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")
    return product
