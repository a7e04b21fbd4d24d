"""Reference: the pretrained body stays frozen and only the output layer learns (linear probing)."""

from clbench import Learner, Strategy


class Frozen(Strategy):
    """What the pretrained features give without adapting them; in the task setting nothing can be forgotten."""

    decides = ("which weights learn",)

    def setup(self, learner: Learner) -> None:
        """Freeze the body."""
        learner.freeze_body()
