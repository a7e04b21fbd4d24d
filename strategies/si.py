"""Synaptic intelligence: weights whose moves lowered past tasks' losses are held where they were.

Zenke et al. 2017, "Continual Learning Through Synaptic Intelligence", equations 3 to 5. While a task is learned,
ω_i = −Σ_steps g_i Δθ_i, g the gradient of the task loss alone (before any penalty and before clipping) and Δθ the
optimizer's step. At its end Ω_i gains ω_i / ((θ_i − θ^start_i)² + damping), and the loss of what follows gains
strength · Σ_i Ω_i (θ_i − θ*_i)², θ* the weights as the last task left them.
"""

from typing import Any

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import PathIntegral, Range, Weights, add_pull, copy_weights, to_device


class SI(Strategy):
    """The importance is a by-product of training: no pass over the data at a task's end.

    Ω is kept at 0 or more, since a negative one would push its weight away without bound. In a stack, what another
    strategy adds to the loss is taken for task loss; what it adds to the gradients is not.

    Args:
        strength: c, 0 or more; the moves of a pretrained model are far below the damping, so c must be large; the
            default is the best of 10,000, 30,000 and 100,000 on text_seq's dev texts.
        damping: ξ, above 0, keeps the importance of weights that hardly moved finite; 0.1 is the paper's.
    """

    kept_numbers = 6  # beside importance and centre the path's start and decrease, and a step's gradient and start
    search_spaces = {"strength": Range(1_000.0, 1_000_000.0, log=True)}

    def __init__(self, strength: float = 30000.0, damping: float = 0.1) -> None:
        if strength < 0 or damping <= 0:
            raise InputError(f"si: {strength=}, {damping=}; allowed: strength 0 or more, damping above 0")
        self.strength, self.damping = strength, damping

    def setup(self, learner: Learner) -> None:
        """Nothing is important before the first task has ended."""
        self.device = learner.device
        self.importance: Weights = {}
        self.centre: Weights = {}
        self.path = PathIntegral()

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Start a new path."""
        self.path.begin(learner)

    def read_gradients(self, learner: Learner) -> None:
        """Keep the task's gradient."""
        self.path.before_step(learner)

    def before_step(self, learner: Learner) -> None:
        """Add the penalty's."""
        add_pull(learner, self.importance, self.centre, 2 * self.strength)

    def after_step(self, learner: Learner) -> None:
        """One step more of the path."""
        self.path.after_step(learner)

    def after_steps(self, learner: Learner, task: TaskData) -> None:
        """Turn the path into importance."""
        now = copy_weights(learner)
        for name, decrease in self.path.decrease.items():
            if name in now:
                gained = decrease / ((now[name] - self.path.start[name]).square() + self.damping)
                self.importance[name] = (self.importance.get(name, 0.0) + gained).clamp(min=0.0)
        self.path = PathIntegral()  # nothing of it is needed between tasks

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """From now on the penalty pulls to the weights that answer."""
        self.centre |= copy_weights(learner)

    def state_dict(self) -> dict[str, Any]:
        """The importance, where the penalty pulls to, and the path."""
        return {"importance": self.importance, "centre": self.centre, "path": self.path.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self.importance, self.centre = (to_device(state[name], self.device) for name in ("importance", "centre"))
        self.path.load_state_dict(state["path"], self.device)
