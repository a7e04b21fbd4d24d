"""The processes that train one model together, where a launcher such as torchrun started several.

Each has the whole model and all data, draws the same batch from the same streams and learns from its part of the rows;
the gradients are summed. In one process every function here gives back at once what it was given.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from clbench.errors import InputError, RunError

Item = TypeVar("Item")
Result = TypeVar("Result")

# A process that waits so long for another gives up: the longest wait is for the first one, which saves a model.
TIMEOUT = timedelta(minutes=30)
# Seconds that a process that failed waits to hear whether the others did.
HEARING = 5.0
# Elements that are summed at once: few calls, and little memory beside the gradients.
BUCKET = 2**23


class Lost(RunError):
    """Another process has ended or does not answer; what made it do so is its to tell."""


def launched() -> bool:
    """Whether a launcher's variables say that this is one of several processes, and how they find each other."""
    size = os.environ.get("WORLD_SIZE", "1")
    return size.isdigit() and int(size) > 1 and all(name in os.environ for name in ("RANK", "MASTER_ADDR"))


def join() -> None:
    """Meet the other processes.

    Raises:
        InputError: they cannot be reached.
    """
    try:
        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"the processes of this run do not find each other: {str(error).splitlines()[0]}") from error


def leave() -> None:
    """Part from the others, who may have ended."""
    dist.destroy_process_group()


def count() -> int:
    """How many processes train this model; 1 without a launcher."""
    return dist.get_world_size() if dist.is_initialized() else 1


def number() -> int:
    """Which of them this is; 0 is the first, the only one that writes and speaks."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes and speaks."""
    return number() == 0


def on_this_machine() -> int:
    """Which of the processes of this machine it is: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if count() > 1 else 0


def my_rows(rows: int) -> Tensor:
    """Those of ``rows`` rows of a batch that are this process's part: none where there are fewer than processes."""
    return torch.arange(rows).tensor_split(count())[number()]


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of all processes' tensors, which have the same shape; the same to the last bit in each."""
    if count() == 1:
        return value
    total = value.detach().clone().contiguous()
    with _others():
        dist.all_reduce(total)
    return total


def largest(value: int) -> int:
    """The largest of all processes' numbers."""
    if count() == 1:
        return value
    found = torch.tensor([value])
    with _others():
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Let the gradient of each parameter be the sum of all processes'; it stays None where none has one."""
    if count() == 1:
        return
    learning = list(parameters)
    there = torch.tensor([parameter.grad is not None for parameter in learning], dtype=torch.uint8)
    with _others():
        dist.all_reduce(there, dist.ReduceOp.MAX)
    gradients = []
    for parameter, has_one in zip(learning, there.tolist(), strict=True):
        if has_one:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients.append(parameter.grad)
    _in_place(gradients, dist.all_reduce)


def sum_in_place(values: Sequence[Tensor]) -> None:
    """Let each tensor be the sum of all processes'."""
    if count() > 1:
        _in_place(values, dist.all_reduce)


def take_from_first(values: Sequence[Tensor]) -> None:
    """Let each tensor be the first process's: rounding may not let the processes part company."""
    if count() > 1:
        with torch.no_grad():
            _in_place([value.detach() for value in values], lambda flat: dist.broadcast(flat, 0))


def of_first(make: Callable[[], Result]) -> Result:
    """What the first process makes, in all of them; where that fails, it fails in all.

    Raises:
        InputError, RunError: as ``make``.
    """
    if count() == 1:
        return make()
    told: list[Any] = [None, None]
    if is_first():
        try:
            told[0] = make()
        except (InputError, RunError) as error:
            told[1] = error
    with _others():
        dist.broadcast_object_list(told, 0)
    if told[1] is not None:
        raise told[1]
    result: Result = told[0]
    return result


def gathered(value: Item) -> list[Item]:
    """Every process's ``value``, in the order of the processes."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    with _others():
        dist.all_gather_object(found, value)
    return found


def shared_out(items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]) -> Sequence[Result]:
    """``work(items)``, a result an item, of which each process does every N-th item."""
    if count() == 1:
        return work(items)
    results: list[Any] = [None] * len(items)
    for start, own in enumerate(gathered(work(items[number() :: count()]))):
        results[start :: count()] = own
    return results


def my_share(items: Sequence[Item]) -> Sequence[Item]:
    """Every N-th of ``items``, for work whose results are summed."""
    return items if count() == 1 else items[number() :: count()]


def words_of(occasion: str, error: Exception) -> dict[int, str]:
    """What the processes say of an end: "failed", or "lost" where it was because another had ended; waits a little.

    Args:
        occasion: a name that all give and that was not given before.
        error: this process's.
    """
    store: Any = dist.group.WORLD.get_group_store()  # type: ignore[union-attr]
    keys = [f"{occasion}, process {each}" for each in range(count())]
    words: dict[int, str] = {}
    last = time.monotonic() + HEARING
    with suppress(RuntimeError):  # the process that had the store is gone
        store.set(keys[number()], "lost" if isinstance(error, Lost) else "failed")
        while len(words) < count() and time.monotonic() < last:
            words |= {each: store.get(key).decode() for each, key in enumerate(keys) if store.check([key])}
            time.sleep(0.02)
    return dict(sorted(words.items()))


@contextmanager
def _others() -> Iterator[None]:
    """Inside, an error is that of a process that is not there any more."""
    try:
        yield
    except RuntimeError as error:
        raise Lost(f"a process of this run ended or does not answer: {str(error).splitlines()[0]}") from error


def _in_place(values: Sequence[Tensor], exchange: Callable[[Tensor], Any]) -> None:
    """Exchange ``values`` in buckets of one type each, and put what came of it in their place."""
    for bucket in _buckets(values):
        flat = torch.cat([value.reshape(-1) for value in bucket])
        with _others():
            exchange(flat)
        parts = flat.split([value.numel() for value in bucket])
        torch._foreach_copy_(list(bucket), [part.view_as(value) for part, value in zip(parts, bucket, strict=True)])


def _buckets(values: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for value in values:
        if bucket and (value.dtype != bucket[0].dtype or sum(map(Tensor.numel, bucket)) + value.numel() > BUCKET):
            yield bucket
            bucket = []
        bucket.append(value)
    if bucket:
        yield bucket
