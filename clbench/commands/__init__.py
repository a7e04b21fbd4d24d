"""What each command does: run, advise, compare, errors, plot, list, describe, data, export, predict; and progress."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.commands import (
        advise as advise,
        compare as compare,
        data as data,
        describe as describe,
        errors as errors,
        export as export,
        listing as listing,
        metrics as metrics,
        notebook as notebook,
        planning as planning,
        predict as predict,
        run as run,
        side_by_side as side_by_side,
    )

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
