"""A preset as a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from clbench.errors import InputError
from clbench.presets.making import Asked, make_tasks
from clbench.presets.preset import Preset
from clbench.presets.reading import read_preset
from clbench.scenario import Scenario, Task


class PresetScenario(Scenario):
    """Tasks from data sets of the hub, as a preset's file says.

    Args:
        order: one of the preset's; for labels that are dealt out to tasks "seed", by default as the data number them.
        root: a folder that holds OWNER/NAME as the hub does, which is read instead of the hub.
        labels_per_task: in place of the preset's.
        train, dev, test: the most rows of a task's split.
    """

    preset: ClassVar[Preset]

    def __init__(
        self,
        *,
        seed: int = 0,
        setting: str = "",
        order: str | int = "",
        root: str = "",
        labels_per_task: int | None = None,
        train: int | None = None,
        dev: int | None = None,
        test: int | None = None,
    ) -> None:
        super().__init__(seed=seed, setting=setting)
        most = {"train": train, "dev": dev, "test": test}
        for split, rows in most.items():
            if rows is not None and rows < 1:
                raise InputError(f"{split}={rows} is not allowed; allowed: 1 or more")
        self.asked = Asked(seed, str(order), root, labels_per_task, most)

    def notes(self) -> tuple[str, ...]:
        """What differs from the papers."""
        return (self.preset.note,) if self.preset.note else ()

    def tasks(self) -> list[Task]:
        """The tasks; loads their data."""
        return make_tasks(self.preset, self.asked)


def preset_scenario(path: Path) -> type[PresetScenario]:
    """The scenario that the preset in a file is.

    Raises:
        InputError: the file is no preset.
    """
    preset = read_preset(path)
    attributes = {"kind": preset.kind, "settings": preset.settings, "defaults": dict(preset.defaults)}
    return type("PresetScenario", (PresetScenario,), {**attributes, "preset": preset})
