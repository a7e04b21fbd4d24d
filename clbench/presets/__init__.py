"""Well-known task sequences by the hub ids of their data: a small YAML file each, in this folder."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.presets.preset import Preset as Preset, Source as Source
    from clbench.presets.reading import available_presets as available_presets, read_preset as read_preset
    from clbench.presets.scenario import PresetScenario as PresetScenario, preset_scenario as preset_scenario

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
