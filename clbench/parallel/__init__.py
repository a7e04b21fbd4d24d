"""Several runs at once: in processes of this machine, on a cluster of Ray's; a part of all runs a machine."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.parallel.cluster import living_nodes as living_nodes, ray_cluster as ray_cluster
    from clbench.parallel.demands import (
        Demand as Demand,
        describe_cluster as describe_cluster,
        read_demand as read_demand,
    )
    from clbench.parallel.messages import Sender as Sender
    from clbench.parallel.on_ray import OnRay as OnRay
    from clbench.parallel.outgoing import Sent as Sent
    from clbench.parallel.parts import read_part as read_part, take_part as take_part
    from clbench.parallel.slots import (
        Slot as Slot,
        describe_slots as describe_slots,
        devices_of as devices_of,
        make_slots as make_slots,
        read_jobs as read_jobs,
        usable_cores as usable_cores,
    )
    from clbench.parallel.together import Makers as Makers, Together as Together
    from clbench.parallel.worker import Order as Order, work as work
    from clbench.parallel.workers import Workers as Workers

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
