"""clbench: which remedy to use when a fine-tuned model forgets."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clbench.commands.notebook import run as run
    from clbench.data import Batch as Batch, Example as Example, TaskData as TaskData
    from clbench.kinds import Kind as Kind
    from clbench.learner import Learner as Learner
    from clbench.report.frames import load_runs as load_runs
    from clbench.scenario import Scenario as Scenario, Task as Task
    from clbench.strategy import Strategy as Strategy

__version__ = "0.2.0"

if sys.version_info >= (3, 11):  # noqa: UP036 - an older one must get as far as __main__.py, which says that it is
    from clbench.doors import open_door

    __all__, __getattr__, __dir__ = open_door(__name__, __file__)
