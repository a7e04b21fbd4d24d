"""Strategies of Avalanche, in its own training loop; such as avalanche.EWC(ewc_lambda=1000).

``avalanche_benchmark`` turns a scenario into one of its benchmarks, ``tasks_from_benchmark`` one of those into tasks.
"""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.integrations.avalanche.benchmark import (
        avalanche_benchmark as avalanche_benchmark,
        tasks_from_benchmark as tasks_from_benchmark,
    )
    from clbench.integrations.avalanche.catalogue import import_avalanche as import_avalanche
    from clbench.integrations.avalanche.strategy import (
        build as build,
        describe as describe,
        load as load,
        source_hash as source_hash,
    )

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
