"""The trackers that ``--track`` names, each as accelerate has it: where it keeps a run, and what it takes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clbench.doors import is_installed
from clbench.errors import InputError, unknown
from clbench.files import remove_path

PROJECT = "clbench"
SETTINGS = ("WANDB_", "MLFLOW_", "TRACKIO_")  # what variables of theirs begin with
KEPT_BY = {"mlflow": "MLFLOW_TRACKING_URI", "trackio": "TRACKIO_DIR"}  # the others: in the run's folder
Values = Mapping[str, Any]


class Place(NamedTuple):
    """A run as a tracker is to know it: its folder, what people call it, and the tracker's name of it if it goes on."""

    folder: Path
    title: str
    known: str | None


class Tracker:
    """A run of a tracker that numbers each measure's values by itself.

    Args:
        started: accelerate's tracker.
        name: by which the tracker finds this run again.
        goes_on: whether it has its settings already.
    """

    def __init__(self, started: Any, name: str, goes_on: bool) -> None:
        self.started, self.name, self.goes_on = started, name, goes_on

    def tell_settings(self, settings: Values) -> None:
        """The run's settings: texts, numbers and truth values."""
        if not self.goes_on:
            self.started.store_init_configuration(dict(settings))

    def tell(self, values: Values, axis: str, number: int) -> None:
        """Numbers by name, at ``number`` of the ``axis``: "step" or "after_task"."""
        self.started.log(dict(values), step=number)

    def show(self, pictures: Mapping[str, Path], number: int) -> None:
        """Pictures (PNG files) by name."""

    def finish(self) -> None:
        """All that was told is kept; nothing more comes."""
        self.started.finish()


class TensorBoard(Tracker):
    """Event files in the run's folder, so that ``tensorboard --logdir results`` shows all runs."""

    def show(self, pictures: Mapping[str, Path], number: int) -> None:
        """As images of one example."""
        arrays = {name: _pixels(path)[None] for name, path in pictures.items()}
        self.started.log_images(arrays, step=number, dataformats="NHWC")


class Wandb(Tracker):
    """Its own steps only ever grow: what is measured is told with the number that it is drawn against."""

    def tell(self, values: Values, axis: str, number: int) -> None:
        """The number is a value, too."""
        self.started.log({axis: number, **values})

    def show(self, pictures: Mapping[str, Path], number: int) -> None:
        """As images."""
        self.started.log_images({name: [_pixels(path)] for name, path in pictures.items()})


class MLflow(Tracker):
    """In MLflow's store: ``MLFLOW_TRACKING_URI``, or mlflow.db where the run was started."""

    def show(self, pictures: Mapping[str, Path], number: int) -> None:
        """As artifacts."""
        for path in pictures.values():
            self.started.log_artifact(str(path))


class Trackio(Tracker):
    """In trackio's folder, ``TRACKIO_DIR``."""

    def show(self, pictures: Mapping[str, Path], number: int) -> None:
        """As images."""
        import trackio

        self.started.log({name: trackio.Image(str(path)) for name, path in pictures.items()}, step=number)


def _tensorboard(place: Place) -> Tracker:
    from accelerate.tracking import TensorBoardTracker

    if place.known is None:
        remove_path(place.folder / "tensorboard")  # of a run that is overwritten
    started = TensorBoardTracker("tensorboard", place.folder)
    started.start()
    return TensorBoard(started, "tensorboard", place.known is not None)


def _wandb(place: Place) -> Tracker:
    import wandb
    from accelerate.tracking import WandBTracker

    name = place.known or uuid.uuid4().hex[:8]
    where = os.environ.get("WANDB_DIR") or str(place.folder)
    settings = wandb.Settings(console="off")  # stdout is the answer, and not to be watched
    project = os.environ.get("WANDB_PROJECT") or PROJECT
    started = WandBTracker(project, name=place.title, id=name, resume="allow", dir=where, settings=settings)
    started.start()
    for axis, group in (("step", "train"), *(("after_task", group) for group in ("matrix", "metrics", "cost"))):
        started.tracker.define_metric(f"{group}/*", step_metric=axis)
    return Wandb(started, name, place.known is not None)


def _mlflow(place: Place) -> Tracker:
    from accelerate.tracking import MLflowTracker

    started = MLflowTracker(PROJECT, run_name=place.title, run_id=place.known)
    started.start()
    return MLflow(started, started.tracker.info.run_id, place.known is not None)


def _trackio(place: Place) -> Tracker:
    from accelerate.tracking import TrackioTracker

    name = place.known or f"{place.title} {uuid.uuid4().hex[:8]}"
    started = TrackioTracker(PROJECT, name=name, resume="allow")
    started.start()
    return Trackio(started, name, place.known is not None)


OPEN: dict[str, Callable[[Place], Tracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}
"""How each tracker, whose package and extra are called as it is, begins a run or goes on with one."""


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that there are not.

    Raises:
        InputError: names one that is unknown or not installed.
    """
    for name in names:
        if name not in OPEN:
            raise unknown("tracker", name, OPEN)
        if not is_installed(name):
            raise InputError(f"--track {name} needs {name}, which is not installed: pip install 'clbench[{name}]'")


def check_on_nodes(names: Sequence[str]) -> None:
    """Refuse, of runs on a cluster's nodes, trackers that would keep what they are told where nobody looks.

    Raises:
        InputError: one of ``names`` keeps it outside the run's folder, and its variable names no other place.
    """
    for name, variable in KEPT_BY.items():
        if name in names and not os.environ.get(variable):
            raise InputError(
                f"--track {name} with --on ray would keep each run on the node that it ran on; "
                f"set {variable} to a place that all nodes reach"
            )


def settings_of_trackers() -> dict[str, str]:
    """The variables by which trackers are told where to keep runs, and whose they are."""
    return {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)}


def open_tracker(name: str, place: Place) -> Tracker:
    """The tracker ``name``, which begins the run at ``place`` or goes on with it; raises what the tracker raises."""
    check_trackers([name])
    from accelerate import PartialState

    PartialState()  # accelerate's trackers ask it whether this is the main process
    return OPEN[name](place)


def _pixels(path: Path) -> Any:
    """A picture (height, width, 3) of numbers in 0..255."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
