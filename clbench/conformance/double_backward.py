"""Errors inside a backward pass on the stand-in for a GPU: kept back until the pass has ended, and raised then.

With a Python device guard they would end the process: ``PythonDeviceGuard::exchangeStream`` calls Python while the
stack is unwound for a Python error (torch 2.13).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

_errors: list[list[Exception]] = []  # of each pass in progress


def keep_back(call: Callable[..., Any], *args: Any) -> Any:
    """``call``, whose error is raised when the backward pass that it is part of has ended."""
    try:
        return call(*args)
    except Exception as error:
        if not _errors:
            raise
        _errors[-1].append(error)
        return None


def guarded(run_backward: Callable[..., Any], mode: AbstractContextManager[Any]) -> Callable[..., Any]:
    """``run_backward`` under ``mode`` with errors kept back; all of it in the thread that calls, as modes are."""

    def call(*args: Any, **kwargs: Any) -> Any:
        errors: list[Exception] = []
        _errors.append(errors)
        found = None
        try:
            with torch.autograd.set_multithreading_enabled(False), mode:
                found = run_backward(*args, **kwargs)
        except RuntimeError:
            if not errors:
                raise
        finally:
            _errors.pop()
        if errors:
            raise errors[0]
        return found

    return call
