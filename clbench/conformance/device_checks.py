"""The checks of a strategy on the stand-in for a GPU: it gives there what it gives on the CPU, to the last bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from unittest import mock

from clbench.conformance.checks import NOT_RESUMABLE, Check, NotApplicable
from clbench.conformance.double_cuda import as_cuda
from clbench.conformance.double_watch import Key, Watch, watch
from clbench.conformance.trials import Ground, Record, Trials, difference
from clbench.toolkit import Training

# Lines of waits that a warning names.
NAMED = 3


class Steps(list[Watch]):
    """What each steady step waited for: every step but a task's first, which makes what the others use."""

    def waits(self) -> float:
        """Waits of the host a step."""
        return sum(seen.waits.total() for seen in self) / max(1, len(self))

    def uploads(self) -> float:
        """Uploads a step that the host waits for."""
        return sum(seen.blocking.total() for seen in self) / max(1, len(self))

    def lines(self) -> str:
        """The waits and uploads a step, most frequent first."""
        found: Counter[Key] = Counter()
        for seen in self:
            found += seen.waits + seen.blocking
        named = [f"{count / len(self):.1f} {kind} at {place}" for (kind, _, place), count in found.most_common(NAMED)]
        return ", ".join(named) + (f" and {len(found) - NAMED} more" if len(found) > NAMED else "")


@contextmanager
def counted_steps() -> Iterator[Steps]:
    """Inside, every steady step of training is watched."""
    steps, run_step = Steps(), Training.run_step

    def counted(training: Training) -> None:
        with watch() as seen:
            run_step(training)
        if training.step > 1:
            steps.append(seen)

    with mock.patch.object(Training, "run_step", counted):
        yield steps


class DeviceChecks:
    """The checks of the strategy of ``trials``; each method gives the reason of a failure, empty when there is none.

    Args:
        trials: runs of the strategy.
        options: of the runs, where they are not to be the trials' own.

    Attributes:
        steps: those of the run on the device on each scenario and setting.
    """

    def __init__(self, trials: Trials, **options: Any) -> None:
        self.trials, self.options = trials, {"precision": "fp32", **options}
        self.steps: dict[Ground, Steps] = {}

    def all(self) -> list[Check]:
        """Every check, after those without which its failure would have another cause."""
        return [
            Check("loads", self.trials.load, usage=True),
            Check("runs", self.runs, ("loads",)),
            Check("device", self.device, ("runs",)),
            Check("device equals CPU", self.equal, ("device",)),
            Check("device resume", self.resume, ("device equals CPU",)),
            Check("device waits", self.waits, ("device",), severity="warning"),
        ]

    @cached_property
    def on_cpu(self) -> dict[Ground, Record]:
        """The run on the CPU, on every scenario and setting that the strategy supports."""
        return {ground: self._run(ground, "cpu") for ground in self.trials.grounds}

    @cached_property
    def on_device(self) -> dict[Ground, Record]:
        """The same on the device."""
        records = {}
        for ground in self.trials.grounds:
            with counted_steps() as self.steps[ground]:
                records[ground] = self._run(ground, "cuda")
        return records

    def all_steps(self) -> Steps:
        """Those on all scenarios and settings."""
        return Steps(step for steps in self.steps.values() for step in steps)

    def runs(self) -> str:
        """Whole runs complete on the CPU."""
        assert self.on_cpu
        return ""

    def device(self) -> str:
        """They complete on the device, where host and device tensors must not meet."""
        assert self.on_device
        return ""

    def equal(self) -> str:
        """Weights after every step, predictions and metrics are the CPU's."""
        for ground, record in self.on_cpu.items():
            if found := difference(record, self.on_device[ground]):
                return f"{found}, CPU and device, {ground[0]} in the setting {ground[1]!r}"
        return ""

    def resume(self) -> str:
        """A run on the device that is cut off at every place, and goes on each time, ends as the uninterrupted one."""
        if not self.trials.strategy.resumable:
            raise NotApplicable(NOT_RESUMABLE)
        ground = self.trials.grounds[0]
        with on("cuda"):
            return self.trials.cut_everywhere(self.on_device[ground], ground, **self.options, device="cuda")

    def waits(self) -> str:
        """No step waits for the device: while it computes, the host prepares what comes next."""
        steps = self.all_steps()
        counts = f"{steps.waits():.1f} waits and {steps.uploads():.1f} blocking uploads a step"
        return f"{counts}: {lines}" if (lines := steps.lines()) else ""

    def _run(self, ground: Ground, device: str) -> Record:
        with on(device):
            return self.trials.run(self.trials.plan(ground, **self.options, device=device))


@contextmanager
def on(device: str) -> Iterator[Any]:
    """Inside, the stand-in is there for "cuda"; the CPU multiplies as its tensors do, never by another library."""
    with mock.patch("clbench.models.linear.products_are_slow", return_value=False):
        if device == "cpu":
            yield
        else:
            with as_cuda():
                yield
