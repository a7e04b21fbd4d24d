"""Reference: each task is learned together with all data of the tasks before it; what unlimited memory gives."""

from collections.abc import Sequence

from clbench import Strategy


class Cumulative(Strategy):
    """Training goes on from the weights that the last task left, for as many epochs over all data so far.

    Unlike joint it can be measured after every task; its cost grows with the square of the number of tasks.
    """

    alone = "cumulative trains on all data so far, so there is nothing left to remember"
    keeps_examples = True

    def training_tasks(self, position: int, count: int) -> Sequence[int]:
        """This task and all before it."""
        return range(position + 1)
