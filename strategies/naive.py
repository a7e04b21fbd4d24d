"""Plain fine-tuning on one task after the other: the baseline that forgets."""

from clbench import Strategy


class Naive(Strategy):
    """Nothing is done against forgetting; every other strategy is measured against this one."""

    alone = "naive does nothing, so a stack with it is the other strategy"
