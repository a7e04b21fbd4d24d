"""Memory that runs out: what says so, how often the work is halved, the line that a person reads."""

from __future__ import annotations

import pytest
import torch

from clbench.errors import RunError
from clbench.models.memory import exhaustion_told, halve_until_it_fits, is_out_of_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_what_says_that_memory_is_exhausted(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("can't allocate memory"), KeyError("x")])
def test_what_does_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_work_is_halved_until_it_fits() -> None:
    sizes = []

    def work(size: int) -> str:
        sizes.append(size)
        if size > 2:
            raise MemoryError
        return f"done in {size}"

    assert halve_until_it_fits(work, 13) == "done in 1"
    assert sizes == [13, 6, 3, 1]


@pytest.mark.parametrize(("error", "attempts"), [(MemoryError(), 3), (RuntimeError("shapes differ"), 1)])
def test_what_smaller_pieces_do_not_help_is_raised(error: Exception, attempts: int) -> None:
    sizes = []

    def work(size: int) -> None:
        sizes.append(size)
        raise error

    with pytest.raises(type(error)):
        halve_until_it_fits(work, 4)
    assert len(sizes) == attempts


def test_the_line() -> None:
    with pytest.raises(RunError) as told, exhaustion_told(CPU, "in task 'movie'", "try less"):
        raise MemoryError
    assert str(told.value) == "out of memory on cpu in task 'movie'; finished tasks are kept; try less"
    with pytest.raises(RuntimeError, match=r"^shapes$"), exhaustion_told(CPU, "", ""):
        raise RuntimeError("shapes")
