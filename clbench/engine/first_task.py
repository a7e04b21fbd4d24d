"""What several runs of one command have in common and learn once: the first task.

A strategy that does nothing in the steps of the first task learns it bit for bit as plain fine-tuning does. That its
hooks in these steps are not its own, or do nothing there, is said by its class (``idle_in_first_task``); that nothing
before them changed the model, what learns or how, is not asked but looked at. The first run that has learned the task
so writes how it ended, and others go on from there, with their own ``after_steps`` and ``after_task``. Two that learn
it at the same time do not wait for each other.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clbench.engine.checkpoint import load_checkpoint, save_checkpoint, tensor_bytes
from clbench.engine.preparation import Prepared
from clbench.engine.sharing import Fingerprint, difference, fingerprint, science_key
from clbench.engine.state import State, learned_weights
from clbench.errors import InputError, RunError
from clbench.strategy import Stack, Strategy
from clbench.toolkit import Training, learning_rate_factor

# The hooks that act inside a task's steps.
STEP_HOOKS = (
    *("parameter_groups", "learning_rate_factor", "train_batch", "loss", "read_gradients", "before_step"),
    *("after_step", "stop"),
)
Losses = list[tuple[int, int, float]]
"""Step, examples since the last entry, and the mean loss since."""


class SharedFirstTask:
    """How the first task ends, in a folder that the runs of one command share.

    Args:
        prepared: the run's fixed parts; its ``shared`` folder is there.
        state: the run's.
    """

    def __init__(self, prepared: Prepared, state: State) -> None:
        self.prepared, self.state = prepared, state
        assert prepared.shared is not None
        self.key = science_key(prepared.config)
        self.folder: Path = prepared.shared / f"task-{self.key}"
        self._begun = prepared.learner.clock.read()

    def take(self, training: Training) -> Losses | None:
        """Let the run be where another one was after the task's last step; what that told of its losses.

        The clock counts what the other one's steps took. None where there is no other one.
        """
        try:
            content = load_checkpoint(self.folder, self.key)
        except InputError:  # a damaged disk: this run learns it for itself
            content = None
        if content is None:
            return None
        learner, config = self.prepared.learner, self.prepared.config
        learner.model.load_state_dict(content["model"], strict=False)
        training.load_state_dict(content["training"])
        for group, peak in zip(training.optimizer.param_groups, training.peak_rates, strict=True):
            group["lr"] = peak * learning_rate_factor(training.step - 1, training.steps, config.warmup, config.schedule)
        learner.step, learner.steps, learner.skipped_steps = training.step - 1, training.steps, content["skipped"]
        learner.new_examples = training.collated(training.step - 1)[0]
        self.state.curve = content["curve"]
        learner.clock.add(difference(content["seconds"], difference(learner.clock.read(), self._begun)))
        return [tuple(each) for each in content["losses"]]

    def give(self, training: Training, losses: Losses) -> None:
        """Write where this run is after the task's last step, if there is a place and no other one has done so."""
        learner, state = self.prepared.learner, self.state
        seconds = difference(learner.clock.read(), self._begun)
        own = training.state_dict()
        if self.prepared.config.optimizer_state == "fresh":
            own["optimizer"] = {}  # nothing reads it again
        model = learned_weights(self.prepared, state)
        content = {"training": own, "model": model, "skipped": learner.skipped_steps, "curve": state.curve}
        content |= {"losses": [list(each) for each in losses], "seconds": seconds}
        with (
            learner.clock.left_out(),
            suppress(OSError, RunError, Timeout),  # a full disk, or another one at it: each learns for itself
            FileLock(f"{self.folder}.lock", timeout=0),
        ):
            if not self.folder.exists() and shutil.disk_usage(self.folder.parent).free > 4 * tensor_bytes(content):
                save_checkpoint(self.folder, content, self.key)


def shared_first_task(prepared: Prepared, state: State, sources: Sequence[int]) -> SharedFirstTask | None:
    """Where the first task's end is shared; None where the steps that begin are not those of plain fine-tuning.

    Args:
        prepared, state: of the run, which has called the strategy's ``before_task`` and ``train``.
        sources: the tasks whose data are learned from.
    """
    first = list(sources) == [0] and state.rows == 1 and state.training is None and not state.optimizer
    if prepared.shared is None or not first or not idle_in_first_task(prepared.strategy):
        return None
    assert prepared.as_it_came is not None
    before, now = prepared.as_it_came, fingerprint(prepared.learner)
    return SharedFirstTask(prepared, state) if _plain(before) == _plain(now) else None


def _plain(found: Fingerprint) -> tuple[Any, ...]:
    return found.weights, found.all_but_weights(), found.learning


def idle_in_first_task(strategy: Strategy) -> bool:
    """Whether each hook of ``strategy`` that acts inside a task's steps does nothing in those of the first.

    It is not the strategy's own, or the class that defines it says so; a subclass that overrides it says so again.
    """
    if isinstance(strategy, Stack):
        return all(idle_in_first_task(member) for _, member in strategy.members)
    for hook in STEP_HOOKS:
        owner = next(each for each in type(strategy).__mro__ if hook in vars(each))
        if hook in vars(strategy) or (owner is not Strategy and hook not in vars(owner).get("idle_in_first_task", ())):
            return False
    return True
