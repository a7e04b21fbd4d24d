"""Reference: the pretrained body stays frozen and only the output layer learns (linear probing)."""

from clbench.errors import InputError
from clbench.learner import Learner
from clbench.strategy import Strategy


class Frozen(Strategy):
    """What the pretrained features give without adapting them; in the task setting nothing can be forgotten.

    Args:
        learning_rate: peak learning rate of the output layer, above 0, in place of the run's: alone it bears a larger
            one than above a body that learns too. The default is the best of 0.01, 0.03, 0.1, 0.3 and 1 on text_seq's
            dev texts.
    """

    def __init__(self, learning_rate: float = 0.1) -> None:
        if learning_rate <= 0:
            raise InputError(f"frozen: {learning_rate=}; allowed: above 0")
        self.learning_rate = learning_rate

    def setup(self, learner: Learner) -> None:
        """Freeze the body."""
        learner.freeze_body()
        learner.learning_rates["head"] = self.learning_rate
