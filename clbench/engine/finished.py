"""Where a run lies, and what is read back where it is finished."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from clbench.config import RunConfig
from clbench.engine.checkpoint import remove_checkpoint
from clbench.engine.reporter import Reporter
from clbench.files import expand
from clbench.models import choose_device, device_name, ranks
from clbench.results import RunFolder, UnwrittenFolder, check_belonging, hardware_of


def run_folder(config: RunConfig) -> RunFolder:
    """Where the run of ``config`` lies; with more digits of its hash where another run has the place."""
    model = Path(config.model).name if os.path.isdir(config.model) else config.model
    place = expand(config.output_dir, "output_dir"), config.scenario, config.strategy, model, config.seed
    kind = RunFolder if ranks.is_first() else UnwrittenFolder
    short, long = (kind.locate(*place, config.sha256[:digits]) for digits in (8, 16))
    return long if short.holds_another(config.sha256) else short


def read_finished(config: RunConfig, folder: RunFolder, report: Reporter) -> dict[str, Any] | None:
    """The result of the run of ``config`` where it is finished, with the model that is asked for, and not overwritten.

    Raises:
        InputError: the folder holds something else.
    """
    result = None if config.overwrite else folder.read_result()
    if result is not None:
        stored = folder.read_config()
        check_belonging(folder.path, stored, result, config.sha256)
        if _lacks_model(config, folder) and not result.get("model_warnings"):
            return None
        for line in result.get("model_warnings", ()) if config.save_model else ():
            report.warn(line)
        report.say(f"finished before, read from {folder.path}")
        if config.track:
            report.warn(f"{', '.join(config.track)} is told nothing: the run is finished; --overwrite runs it again")
        _tell_other_device(config, folder, result, report)
        if folder.checkpoint.exists() and not stored.get("keep_checkpoints"):
            remove_checkpoint(folder.checkpoint)  # the process ended between the result and this
    return result


def _tell_other_device(config: RunConfig, folder: RunFolder, result: dict[str, Any], report: Reporter) -> None:
    """The device is no part of what a run is: say where another one gave the result that is read back."""
    ran_on = {str(each.get("device")) for each in hardware_of(folder, result)}
    here = device_name(choose_device(config.device))
    if ran_on - {here}:
        report.warn(
            f"the finished run in {folder.path} ran on {', '.join(sorted(ran_on))}, not on {here}: its accuracies hold "
            "but for rounding, its costs are not those of this device; --overwrite runs it here"
        )


def _lacks_model(config: RunConfig, folder: RunFolder) -> bool:
    """Whether a model is asked for that is not there."""
    each = config.save_model == "each" and not folder.models.exists()
    return bool(config.save_model) and (each or not folder.model.exists())


def begin_again_for_model(config: RunConfig, folder: RunFolder, report: Reporter) -> None:
    """Train a finished run once more, or go on with that; its result stays until there is the new one."""
    report.say(f"{folder.path} was finished without its model: training again, with the same numbers")
    before = folder.read_config()
    if before.get("keep_checkpoints") or before.get("save_model") != config.save_model:
        folder.remove_models()
        remove_checkpoint(folder.checkpoint)  # the finished run's, from which nothing would be trained
