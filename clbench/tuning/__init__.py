"""Tuning: each strategy's learning rates and arguments, chosen on dev of the first tasks, as many trials for each."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.tuning.edges import at_the_edge as at_the_edge
    from clbench.tuning.rounds import Effort as Effort, tune as tune
    from clbench.tuning.spaces import read_search as read_search, with_values as with_values

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
