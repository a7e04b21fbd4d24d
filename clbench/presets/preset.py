"""What a preset is: data of the hub as tasks, with their columns, splits, labels and orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """Where the rows of a task are, or of all tasks where labels make the tasks.

    Attributes:
        hub: OWNER/NAME or OWNER/NAME:CONFIG; empty where the data are ``files``.
        files: by split, below the folder that a person gives as ``root``; for data that no hub id gives.
        revision: of the hub's; empty for its main branch.
        columns: of the data, by the kind's column; several are read one after the other.
        splits: the data's split for train, dev and test; a missing dev or test is drawn from train.
        labels: the names of numbered labels or tags, where the data bring none.
        leave_out: labels whose rows are not used.
        entities: of token tasks, the types whose tags stay; every other tag is O.
        measure: of the kind's measures; empty for its first.
    """

    hub: str
    files: Mapping[str, str]
    revision: str
    columns: Mapping[str, tuple[str, ...]]
    splits: Mapping[str, str]
    labels: tuple[str, ...]
    leave_out: tuple[str, ...]
    entities: tuple[str, ...]
    measure: str


@dataclass(frozen=True)
class Preset:
    """A task sequence.

    Attributes:
        name: of the file.
        title: one line.
        papers: that use it.
        note: what differs from them, and what a person should know.
        kind: of task.
        settings: that the tasks allow, the default first.
        defaults: of training, as a scenario's.
        tasks: each one's data; one nameless where ``labels_per_task`` makes the tasks.
        labels_per_task: so many labels (of token tasks: types of entities) of one data set make a task.
        orders: names of tasks by the name of the order, the default first.
        per_label: the most rows of each label, by split.
        most: the most rows, by split.
        dev, test: shares of train that are drawn where the data have no such split, 0..1.
        size: of images, in pixels: both sides.
    """

    name: str
    title: str
    papers: tuple[str, ...]
    note: str
    kind: str
    settings: tuple[str, ...]
    defaults: Mapping[str, Any]
    tasks: Mapping[str, Source]
    labels_per_task: int
    orders: Mapping[str, tuple[str, ...]]
    per_label: Mapping[str, int]
    most: Mapping[str, int]
    dev: float
    test: float
    size: int

    @property
    def hub_ids(self) -> list[str]:
        """The hub ids of its data, each once."""
        return list(dict.fromkeys(source.hub for source in self.tasks.values() if source.hub))

    def revision_of(self, hub: str) -> str | None:
        """The revision of a hub id of its data."""
        return next((own.revision for own in self.tasks.values() if own.hub == hub and own.revision), None)
