"""What tells one task's data from another's."""

from __future__ import annotations

import hashlib

from clbench.kinds import find_kind
from clbench.scenario import Task


def data_hash(task: Task) -> str:
    """SHA-256 over a task's labels, its measure and all its examples, in order."""
    told = (task.name, task.labels, "shared labels") if task.shared_labels else (task.name, task.labels)
    digest = hashlib.sha256(repr((*told, task.measure) if task.measure else told).encode())
    for split in (task.train, task.dev, task.test):
        for row in find_kind(task.kind).identities(split):
            digest.update(row)
    return digest.hexdigest()
