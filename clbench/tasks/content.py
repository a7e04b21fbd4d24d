"""What tells one task's data from another's."""

from __future__ import annotations

import hashlib

from clbench.scenario import CONTENT_COLUMN, Task


def data_hash(task: Task) -> str:
    """SHA-256 over a task's labels and all its examples, in order."""
    told = (task.name, task.labels, "shared labels") if task.shared_labels else (task.name, task.labels)
    digest = hashlib.sha256(repr(told).encode())
    column = CONTENT_COLUMN[task.kind]
    for split in (task.train, task.dev, task.test):
        for content, label in zip(split[column][:], split["label"][:], strict=True):
            digest.update(repr((content, label)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
