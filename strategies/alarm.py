"""Replay whose share grows while a past task is being forgotten, and shrinks when it has recovered.

After each task every learned task is measured on its dev examples, which are kept for that and never learned from.
Where one is under threshold · its accuracy right after it was learned, the remembered examples of a step are doubled,
up to ``most``; where none is, they are halved, down to ``replay_batch_size``. Each change is a line in log.jsonl. No
paper's: a rule of this project's for replay, Chaudhry et al. 2019.
"""

from typing import Any, Literal

from clbench.strategies.replay import Replay

from clbench import Learner, TaskData
from clbench.errors import InputError
from clbench.toolkit import DevExamples, Range, Stack


class Alarm(Stack):
    """A change takes effect in the next task. A step never replays more examples than the memory holds.

    Args:
        threshold: the alarm is raised under this share of a task's accuracy right after learning; above 0 to 1; 0.7
            is the share of the forgetting warnings, not tuned.
        then: the remedy.
        memory_size: as in replay.
        replay_batch_size: remembered examples of a step while there is no alarm, 1 or more.
        most: remembered examples of a step at most, ``replay_batch_size`` or more; not tuned.
    """

    hook_phases = {"before_step": "fix"}
    search_spaces = {"threshold": Range(0.5, 0.95)}

    def __init__(
        self,
        threshold: float = 0.7,
        then: Literal["replay"] = "replay",
        memory_size: float = 0.05,
        replay_batch_size: int = 16,
        most: int = 128,
    ) -> None:
        if not 0 < threshold <= 1 or most < replay_batch_size:
            allowed = "threshold above 0 to 1, most replay_batch_size or more"
            raise InputError(f"alarm: {threshold=}, {replay_batch_size=}, {most=}; allowed: {allowed}")
        self.remedy = Replay(memory_size, replay_batch_size)
        super().__init__([(then, self.remedy)])
        self.threshold, self.least, self.most = threshold, replay_batch_size, most

    def setup(self, learner: Learner) -> None:
        """No task has been learned."""
        super().setup(learner)
        self.share = self.least
        self.dev = DevExamples()
        self.learned: dict[str, float] = {}
        self.names: dict[str, str] = {}

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Measure all learned tasks and set the share for the next one."""
        super().after_task(learner, task)
        self.dev.keep(task)
        with learner.clock.measure("train"):
            now = {str(position): value for position, value in self.dev.accuracies(learner, self).items()}
        position = str(task.position)
        if position in now:
            self.learned[position], self.names[position] = now[position], task.name
        forgotten = [p for p in self.learned if now[p] < self.threshold * self.learned[p]]
        share = min(2 * self.share, self.most) if forgotten else max(self.share // 2, self.least)
        if share != self.share:
            accuracy = {self.names[p]: {"now": now[p], "learned": self.learned[p]} for p in forgotten}
            learner.note("alarm" if forgotten else "recovered", replay_batch_size=share, forgotten=accuracy)
        self._set_share(share)

    def _set_share(self, share: int) -> None:
        # The window draws for several steps ahead; between tasks it holds nothing.
        self.share = self.remedy.replay_batch_size = self.remedy.window.count = share

    def state_dict(self) -> dict[str, Any]:
        """The replay's state, the share, the dev examples and the accuracies right after learning."""
        own = {"share": self.share, "dev": self.dev.state_dict(), "learned": self.learned, "names": self.names}
        return {"own": own, **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore all of it."""
        super().load_state_dict(state)
        own = state["own"]
        self._set_share(own["share"])
        self.learned, self.names = dict(own["learned"]), dict(own["names"])
        self.dev.load_state_dict(own["dev"])
