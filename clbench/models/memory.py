"""When a device's memory runs out: what says so, the same work in smaller pieces, and one line for the person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from clbench.errors import RunError

Result = TypeVar("Result")

# What torch says where it has no class of its own: a CPU's memory, and the libraries of a GPU that ask for some.
SIGNS = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory is exhausted."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS))


def halve_until_it_fits(work: Callable[[int], Result], size: int) -> Result:
    """``work(size)``, again with half the size each time that memory runs out.

    Args:
        work: what to do; where it fails it must leave nothing behind that a second attempt would add to.
        size: of the pieces that it works in, 1 or more.

    Raises:
        Exception: as ``work``; that memory is exhausted when pieces of 1 are too large.
    """
    while True:
        try:
            return work(size)
        except (RuntimeError, MemoryError) as error:
            if size <= 1 or not is_out_of_memory(error):
                raise
        # Outside the except block, so that the failed attempt's tensors are gone.
        size //= 2
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


@contextmanager
def exhaustion_told(device: torch.device, place: str, remedy: str) -> Iterator[None]:
    """Inside, memory that runs out is a RunError of one line.

    Args:
        device: whose memory.
        place: what is done inside, such as "in task 'movie'".
        remedy: what a person can try.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(f"out of memory on {device} {place}; finished tasks are kept; {remedy}") from error
