"""What weights that no longer change say of a batch of texts, kept so that the next evaluation need not ask again."""

from __future__ import annotations

import hashlib
from typing import Generic, TypeVar

from torch import Tensor

from clbench.data import Batch
from clbench.learner import INPUTS

# 65,000 texts with 1,000 labels; where there are more, the rest is computed again.
MOST_BYTES = 2**28

Value = TypeVar("Value", bound=tuple[Tensor, ...])


class KeptBatches(Generic[Value]):
    """Tensors by the content of a batch; no part of a run's state, and never more than ``most_bytes``.

    Whole batches, not texts: the last bits of an answer depend on what else is in the batch. The sets of texts are
    batched the same way at every evaluation, and what is kept is bit for bit what would be computed.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._values: dict[bytes, Value] = {}

    def find(self, batch: Batch) -> Value | None:
        """What was kept for ``batch``; None if nothing was."""
        return self._values.get(_content(batch))

    def keep(self, batch: Batch, value: Value) -> None:
        """Keep ``value`` for ``batch``, of which nothing is kept yet, unless that would be too much."""
        size = sum(tensor.nbytes for tensor in value)
        if self.bytes + size <= self.most_bytes:
            self._values[_content(batch)] = value
            self.bytes += size

    def clear(self) -> None:
        """Forget everything."""
        self._values, self.bytes = {}, 0


def _content(batch: Batch) -> bytes:
    """A digest of all that the model reads."""
    digest = hashlib.sha256()
    for name in INPUTS:
        if name in batch:
            values = batch[name].cpu().contiguous()
            digest.update(f"{name} {values.dtype} {tuple(values.shape)} ".encode())
            digest.update(values.numpy().tobytes())
    return digest.digest()
