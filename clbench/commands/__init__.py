"""What each command does: run, compare, plot, list, describe, metrics, data, export, predict; and progress."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.commands import (
        compare as compare,
        data as data,
        describe as describe,
        export as export,
        listing as listing,
        metrics as metrics,
        notebook as notebook,
        planning as planning,
        predict as predict,
        run as run,
    )

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
