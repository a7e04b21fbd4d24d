"""A scenario is a sequence of tasks; this module says what both are.

A scenario of your own is one file. This one reads a CSV with the columns ``task``, ``text`` and ``label``::

    \"""Support tickets, one task a product.\"""

    from clbench import Scenario, Task
    from clbench.toolkit import read_csv_tasks


    class Tickets(Scenario):
        def __init__(self, *, seed: int = 0, setting: str = "task", path: str = "tickets.csv") -> None:
            super().__init__(seed=seed, setting=setting)
            self.path = path

        def tasks(self) -> list[Task]:
            return read_csv_tasks(self.path, seed=self.seed)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from clbench.errors import InputError, unknown

if TYPE_CHECKING:
    import datasets

    from clbench.kinds import Kind


@dataclass(frozen=True)
class Task:
    """One task: its name, its kind, the names of its labels and three splits.

    What columns a split has is the kind's to say. ``text`` tasks have ``text`` (str) and ``label``, an index into
    ``labels``, and for pairs ``text_pair`` (str), which is read after the text; ``image`` tasks ``image`` (floats in
    0..1; channels, height, width) and ``label``; ``token`` tasks
    ``tokens`` (list of str) and ``tags`` (list of indices into ``labels``); ``generation`` tasks ``prompt`` and
    ``answer`` (str) and no labels. ``dev`` is for choosing hyper-parameters; ``test`` is read by the evaluator alone.

    Attributes:
        kind: "text", "image", "token", "generation", or a ``clbench.Kind`` of one's own.
        shared_labels: a label's name means the same in every task that has it, so that they share one column of the
            output layer; the same in all tasks of a scenario. In the setting ``domain`` tasks may then have only some
            of the labels, and an answer is looked for among those of the tasks seen so far.
        incomplete: train or test may lack a label.
        notes: what a person should know of the data, such as what was left out and why; the run says it.
        measure: by which of its kind's measures the task's answers are judged; empty for the first.
    """

    name: str
    kind: str | Kind
    labels: tuple[str, ...]
    train: datasets.Dataset
    dev: datasets.Dataset
    test: datasets.Dataset
    shared_labels: bool = False
    incomplete: bool = False
    notes: tuple[str, ...] = ()
    measure: str = ""

    @property
    def splits(self) -> dict[str, datasets.Dataset]:
        """The three splits by name."""
        return {"train": self.train, "dev": self.dev, "test": self.test}


class Scenario:
    """Base of every scenario. A subclass gives ``tasks`` and, where they differ, the class attributes.

    ``settings`` are those it allows, the default first; ``refusals`` says why another cannot be had. ``defaults`` are
    training defaults that hold when the user gives none. ``sources`` names what `clbench data pull` fetches for it.
    The constructor's keywords, typed and with defaults, are what ``--scenario-arg`` sets; ``seed`` decides which
    examples are drawn.
    """

    kind: ClassVar[str | Kind] = "text"
    settings: ClassVar[tuple[str, ...]] = ("task",)
    refusals: ClassVar[dict[str, str]] = {}
    defaults: ClassVar[dict[str, Any]] = {}
    sources: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, seed: int = 0, setting: str = "") -> None:
        setting = setting or self.settings[0]
        if setting in self.refusals:
            allowed = ", ".join(self.settings)
            raise InputError(f"setting {setting!r} cannot be had here: {self.refusals[setting]}; allowed: {allowed}")
        if setting not in self.settings:
            raise unknown("setting", setting, self.settings)
        self.seed = seed
        self.setting = setting

    def notes(self) -> tuple[str, ...]:
        """Lines on what a person should know of the data as a whole; a run says them before it trains."""
        return ()

    def tasks(self) -> list[Task]:
        """The tasks in the order of training; the same for the same arguments, whatever the strategy."""
        raise NotImplementedError(f"{type(self).__name__} does not define tasks()")
