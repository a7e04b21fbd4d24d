"""Strategies that change nothing: last in the stack, they look for faults of the one before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clbench.conformance.fingerprints import copy_state, state_difference, task_fingerprints, tensor_bits
from clbench.conformance.probes import Probe
from clbench.data import TaskData
from clbench.engine import load_checkpoint, save_checkpoint
from clbench.learner import Learner
from clbench.strategy import Strategy


class TaskWatch(Strategy):
    """Compares the examples that a strategy was given with those that naive is given.

    Args:
        expected: for each task's name the fingerprints of the train and dev examples that it is learned from.
        findings: gets a line for each difference.
    """

    def __init__(self, expected: Mapping[str, dict[str, str]], findings: list[str]) -> None:
        self.expected, self.findings = expected, findings
        self.seen: list[TaskData] = []

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """After the strategy's own ``before_task``."""
        self.seen.append(task)
        self._compare(f"before_task of {task.name}")

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """After the strategy's own ``after_task``; it may still hold the examples of earlier tasks."""
        self._compare(f"after_task of {task.name}")

    def _compare(self, hook: str) -> None:
        for task in self.seen:
            for split, fingerprint in task_fingerprints(task).items():
                if fingerprint != self.expected[task.name][split]:
                    count = len(getattr(task, split))
                    self.findings.append(f"{task.name}.{split} ({count} examples) is not naive's, found after {hook}")


class GradientWatch(Strategy):
    """Finds parameters that should learn and do not, and frozen ones that change.

    Rows of an embedding without a token, output rows of other tasks and the first step of a LoRA matrix whose partner
    is 0 rightly have no gradient: so a parameter is looked at as a whole and over all steps of a task.
    """

    def __init__(self, findings: list[str]) -> None:
        self.findings = findings

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """The weights that the strategy's own ``before_task`` left."""
        self.start = {name: tensor_bits(p) for name, p in learner.model.named_parameters()}
        self.steps = 0
        self.required: set[str] = set()
        self.reached: set[str] = set()
        self.nonzero: set[str] = set()
        self.moved: set[str] = set()

    def before_step(self, learner: Learner) -> None:
        """The gradients that the strategy's own ``before_step`` left."""
        for name, parameter in learner.named_parameters():
            self.required.add(name)
            if parameter.grad is not None:
                self.reached.add(name)
                if parameter.grad.any():
                    self.nonzero.add(name)

    def after_step(self, learner: Learner) -> None:
        """What has moved since the task began."""
        self.steps += 1
        named = learner.model.named_parameters()
        self.moved |= {name for name, p in named if name in self.start and tensor_bits(p) != self.start[name]}

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Sum the task up."""
        for names, fault in (
            (self.required - self.reached, "requires grad but got no gradient"),
            (self.reached - self.nonzero, "requires grad but its gradient was 0"),
            ((self.nonzero & set(self.start)) - self.moved, "has a gradient but did not change"),
            (self.moved - self.required, "does not require grad but changed"),
        ):
            if names:
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                self.findings.append(f"{min(names)}{more}: {fault} in the {self.steps} steps of {task.name}")


@dataclass(frozen=True)
class Saved:
    """A strategy's state as it came back from disk, and what of the run a checkpoint holds beside it.

    ``task`` is the position of the task that had begun, None between tasks.
    """

    place: str
    task: int | None
    tasks_seen: int
    strategy: dict[str, Any]
    model: dict[str, Tensor]


class StateWatch(Probe):
    """Sends the state of ``strategy`` through disk and looks whether it shares memory with the live weights.

    Args:
        strategy: the one that is checked; its own hooks have run before this one's.
        folder: an empty folder to write to.

    Attributes:
        lost: a line for each state that came back from disk another.
        aliases: a line for each state that moved with the weights.
        saved: the states that came back.
        error: the first exception of ``state_dict`` or of the saving.
    """

    def __init__(self, strategy: Strategy, folder: Path) -> None:
        self.strategy, self.folder = strategy, folder
        self.lost: list[str] = []
        self.aliases: list[str] = []
        self.saved: list[Saved] = []
        self.error: Exception | None = None

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Weights kept at the start of a task are easily aliases."""
        super().before_task(learner, task)
        self.position = task.position
        self._look(learner, f"before {task.name}", task.position, keep=False)

    def after_step(self, learner: Learner) -> None:
        """Once inside a task."""
        super().after_step(learner)
        if self.step == 1:
            self._look(learner, f"after step 1 of {self.task}", self.position)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """What the next task starts from."""
        self._look(learner, f"after {task.name}", None)

    def _look(self, learner: Learner, place: str, inside: int | None, *, keep: bool = True) -> None:
        try:
            state = self.strategy.state_dict()
            save_checkpoint(self.folder / "state", {"state": state}, "check")
            whole = load_checkpoint(self.folder / "state", "check")
            moved = _moves_with_weights(self.strategy, learner)
        except Exception as error:
            self.error = self.error or error
            return
        assert whole is not None
        if found := state_difference(state, whole["state"]):
            self.lost.append(f"{found} when read from disk, {place}")
        if moved:
            self.aliases.append(f"{moved} when the live weights change, {place}")
        if keep:
            model = copy_state(dict(learner.model.state_dict()))
            self.saved.append(Saved(place, inside, learner.tasks_seen, whole["state"], model))


def _moves_with_weights(strategy: Strategy, learner: Learner) -> str:
    """How the state differs while 1 is added to every weight in place; the weights are put back."""
    before = copy_state(strategy.state_dict())
    live = [value for value in learner.model.state_dict().values() if value.is_floating_point()]
    kept = [value.clone() for value in live]
    with torch.no_grad():
        torch._foreach_add_(live, 1.0)
        difference = state_difference(before, copy_state(strategy.state_dict()))
        torch._foreach_copy_(live, kept)
    return difference
