"""Several runs at once: each in a process of its own, on cores or a GPU of its own; a part of all runs a machine."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.parallel.parts import read_part as read_part, take_part as take_part
    from clbench.parallel.slots import (
        Slot as Slot,
        describe_slots as describe_slots,
        devices_of as devices_of,
        make_slots as make_slots,
        read_jobs as read_jobs,
        usable_cores as usable_cores,
    )
    from clbench.parallel.together import Together as Together
    from clbench.parallel.workers import Workers as Workers

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
