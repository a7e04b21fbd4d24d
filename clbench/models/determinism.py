"""The same bits each time on a GPU, as far as torch can; a CPU gives them anyway."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from clbench.errors import RunError

# Where its workspace has this size, cuBLAS' sums are the same each time; it is read when cuBLAS is first used.
WORKSPACE, SIZE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
REFUSAL = " does not have a deterministic implementation"


@contextmanager
def deterministic(device: torch.device, wanted: bool) -> Iterator[None]:
    """Inside, if ``wanted`` and ``device`` is a GPU, every operation gives the same bits each time or is refused.

    Raises:
        RunError: an operation has no deterministic way.
    """
    if not wanted or device.type == "cpu":
        yield
        return
    given = os.environ.get(WORKSPACE)
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    os.environ.setdefault(WORKSPACE, SIZE)
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory before it is written.
    memory.fill_uninitialized_memory = False
    try:
        yield
    except RuntimeError as error:
        if REFUSAL not in str(error):
            raise
        operation = str(error).partition(REFUSAL)[0].split()[-1]
        raise RunError(
            f"{operation} has no deterministic way on {device}; finished tasks are kept; "
            "run again without --deterministic"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]
        if given is None:
            del os.environ[WORKSPACE]
