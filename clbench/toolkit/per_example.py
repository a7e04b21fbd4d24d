"""Squares of per-example gradients, summed over a batch, from one batched backward pass.

A layer's gradient for one example needs only that example's inputs and output gradients, which hooks collect; the
product is squared and summed at once, block after block, and never stored for all examples. Where a model has learning
parameters in layers that are not known here, or shared between layers, a loop over examples does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from clbench.models import OneDNNLinear

Sums = dict[nn.Parameter, Tensor]
# Elements of per-example gradient held at once: small blocks stay in a CPU's cache, large ones fill a GPU.
BLOCK_ELEMENTS = {"cpu": 2**19, "cuda": 2**26}


def supported(model: nn.Module) -> bool:
    """Whether every learning parameter of ``model`` lies in exactly one layer that the hooks know."""
    owners = [p for module in model.modules() if _is_known(module) for p in module.parameters(recurse=False)]
    learning = [p for p in model.parameters() if p.requires_grad]
    return all(sum(p is owner for owner in owners) == 1 for p in learning)


def rows_observed(model: nn.Module, forward: Callable[[], Any], examples: int) -> bool:
    """Whether ``forward`` runs every layer with learning parameters once, on one row an example.

    ALBERT runs its layers several times, DeBERTa its projections twice, MPNet's position bias has a row a token: there
    the squares of the sum are not the sum of the hooks' squares. Embeddings may be looked up once for the whole batch.
    """
    calls: dict[nn.Module, list[int]] = {
        module: [] for module in model.modules() if any(p.requires_grad for p in module.parameters(recurse=False))
    }
    hooks = [
        module.register_forward_hook(lambda module, inputs, _: calls[module].append(inputs[0].shape[0]))
        for module in calls
    ]
    try:
        with torch.no_grad():
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    return all(
        rows == [examples] or (rows == [1] and isinstance(module, nn.Embedding)) for module, rows in calls.items()
    )


@contextmanager
def squares_collected(model: nn.Module, sums: Sums, examples: int) -> Iterator[None]:
    """Inside, each backward pass of a sum of per-example losses adds the squared gradients to ``sums``.

    Args:
        model: a model for which :func:`supported` holds, in eval mode.
        sums: for each learning parameter a tensor of its shape, added to.
        examples: how many examples the forward pass inside is of.
    """
    learning = [p for p in model.parameters() if p.requires_grad]
    hooks = [
        module.register_forward_hook(_observer(sums, examples))
        for module in model.modules()
        if _is_known(module) and any(p in sums for p in module.parameters(recurse=False))
    ]
    # Ordinary weight gradients would be a third of the work and are not needed.
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for hook in hooks:
            hook.remove()


def add_squares(loss: Tensor, sums: Sums) -> None:
    """The same of one example: adds the squared gradients of its ``loss``, a scalar with a graph, to ``sums``."""
    parameters = list(sums)
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            exact = gradient.float()
            sums[parameter].addcmul_(exact, exact)


def _is_known(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return not isinstance(module.padding, str) and module.padding_mode == "zeros"
    if type(module) is nn.BatchNorm2d:  # with a batch's own statistics each example's loss depends on all of them
        return not module.training and module.track_running_stats
    if isinstance(module, nn.Embedding):
        return module.max_norm is None and not module.scale_grad_by_freq
    if isinstance(module, nn.LayerNorm):
        return len(module.normalized_shape) == 1
    return type(module) in (nn.Linear, OneDNNLinear, Conv1D) or _is_rms_norm(module)


def _is_rms_norm(module: nn.Module) -> bool:
    names = {name for name, _ in module.named_parameters(recurse=False)}
    return type(module).__name__.endswith("RMSNorm") and names == {"weight"} and hasattr(module, "variance_epsilon")


def _observer(sums: Sums, examples: int) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    def observe(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        given: Tensor = inputs[0].detach()
        if given.shape[0] != examples:
            # Position embeddings are looked up once for the whole batch: give each example its own copy.
            given = given.expand(examples, *given.shape[1:])
            output = output.expand(examples, *output.shape[1:])
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        output.register_hook(lambda gradient: _add_squares(module, given, gradient.detach(), sums))
        # A copy, so that an operation in place after this layer meets no leaf.
        return output.clone() if output.is_leaf else output

    return observe


def _add_squares(module: nn.Module, given: Tensor, gradient: Tensor, sums: Sums) -> None:
    weight: nn.Parameter = module.weight  # type: ignore[assignment]
    bias = getattr(module, "bias", None)
    if isinstance(module, nn.Embedding):
        _add_embedding_squares(module, given, gradient, sums[weight])
        return
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        if weight in sums:
            _add_grouped_squares(module, given, gradient, sums[weight])
        if bias is not None and bias in sums:
            sums[bias] += gradient.float().sum((2, 3)).square().sum(0)
        return
    if isinstance(module, nn.Conv2d):
        given = _patches(module, given).transpose(1, 2)
        gradient = gradient.flatten(2).transpose(1, 2)
    elif isinstance(module, nn.BatchNorm2d):
        given, gradient = (x.flatten(2).transpose(1, 2) for x in (given, gradient))
    else:
        given, gradient = (x.reshape(x.shape[0], -1, x.shape[-1]) for x in (given, gradient))
    if bias is not None and bias in sums:
        sums[bias] += gradient.float().sum(1).square().sum(0)
    if weight not in sums:
        return
    if isinstance(module, Conv1D):  # its weight is (inputs, outputs)
        _add_product_squares(gradient, given, sums[weight])
    elif isinstance(module, nn.Linear | nn.Conv2d):
        _add_product_squares(given, gradient, sums[weight].view(weight.shape[0], -1))
    else:
        sums[weight] += (gradient.float() * _normalised(module, given)).sum(1).square().sum(0)


def _normalised(module: nn.Module, given: Tensor) -> Tensor:
    given = given.float()
    if isinstance(module, nn.BatchNorm2d):
        mean, variance = module.running_mean, module.running_var
        assert mean is not None
        assert variance is not None
        return (given - mean) * torch.rsqrt(variance + module.eps)
    if isinstance(module, nn.LayerNorm):
        return nn.functional.layer_norm(given, module.normalized_shape, eps=module.eps)
    return given * torch.rsqrt(given.square().mean(-1, keepdim=True) + module.variance_epsilon)  # type: ignore[operator]


def _patches(module: nn.Conv2d, given: Tensor) -> Tensor:
    """What each position of the output reads: (examples, channels x kernel, positions)."""
    return nn.functional.unfold(given, module.kernel_size, module.dilation, module.padding, module.stride)  # type: ignore[arg-type]


def _add_grouped_squares(module: nn.Conv2d, given: Tensor, gradient: Tensor, total: Tensor) -> None:
    """The same of a convolution in groups, such as one filter a channel: each group's outputs read its own channels."""
    outputs, inputs, height, width = module.weight.shape
    groups = module.groups
    patches = groups * inputs * height * width * gradient[0, 0].numel()
    block = max(1, BLOCK_ELEMENTS.get(total.device.type, 2**24) // patches)
    for start in range(0, len(given), block):
        part = slice(start, start + block)
        read = _patches(module, given[part].to(gradient.dtype)).unflatten(1, (groups, -1))
        scored = gradient[part].flatten(2).unflatten(1, (groups, -1))
        products = torch.matmul(scored, read.transpose(2, 3)).float()  # (examples, groups, outputs, inputs) of a group
        total.view(groups, outputs // groups, -1).add_(products.square_().sum(0))


def _add_product_squares(given: Tensor, gradient: Tensor, total: Tensor) -> None:
    """Add Σ_n (gradient_nᵀ given_n)² to ``total`` (outputs, inputs); both are (examples, positions, features)."""
    given = given.to(gradient.dtype)
    block = max(1, BLOCK_ELEMENTS.get(total.device.type, 2**24) // total.numel())
    for start in range(0, len(given), block):
        part = slice(start, start + block)
        products = torch.bmm(gradient[part].transpose(1, 2), given[part]).float()
        if len(products) == 1:
            total.addcmul_(products[0], products[0])
        else:
            total += products.square_().sum(0)


def _add_embedding_squares(module: nn.Embedding, tokens: Tensor, gradient: Tensor, total: Tensor) -> None:
    """Sum the gradients of equal tokens of one example, then square and add them to the tokens' rows.

    There are as many sums as tokens, those left over 0: how many are needed a GPU's host would have to wait for.
    """
    examples = len(tokens)
    tokens, gradient = tokens.reshape(examples, -1), gradient.reshape(examples, -1, gradient.shape[-1])
    keys = tokens + torch.arange(examples, device=tokens.device)[:, None] * module.num_embeddings
    ordered, order = keys.reshape(-1).sort()
    rank = (ordered.diff(prepend=ordered[:1]) != 0).cumsum(0)  # which sum each of the sorted tokens belongs to
    summed = torch.zeros(len(ordered), gradient.shape[-1], device=gradient.device)
    summed.index_add_(0, torch.empty_like(rank).scatter_(0, order, rank), gradient.flatten(0, 1).float())
    rows = torch.zeros_like(ordered).scatter_(0, rank, ordered % module.num_embeddings)
    if module.padding_idx is not None:
        summed.masked_fill_((rows == module.padding_idx)[:, None], 0.0)
    total.index_add_(0, rows, summed.square_())
