"""Bytes of tensors that are alive, operation by operation: also of tensors that are shapes only."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Inside, every operation's outputs are counted until nothing holds them; views count once with what they view.

    Inside torch's FakeTensorMode, tensors are shapes without memory, and the bytes are those that they would take.
    What an operation takes for itself and gives back before it ends is not seen.

    Args:
        apart: tensors that were there before and do not count, such as a model's weights.

    Attributes:
        live: bytes that are alive now.
        peak: the most that were.
    """

    def __init__(self, apart: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: dict[int, Any] = {tensor.untyped_storage()._cdata: None for tensor in apart}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation and count what it gave."""
        given = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(given):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return given

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: object) -> None:
            del self._known[key]
            self.live -= size

        self._known[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)
