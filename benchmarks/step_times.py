"""What grows with the number of tasks: a step's time, what a strategy stores, the checkpoint, the process's memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import interleave
from clbench.clock import Clock
from clbench.engine import (
    CheckpointWriter,
    Prepared,
    State,
    load_checkpoint,
    parameter_bytes,
    prepare,
    save,
    save_checkpoint,
    tensor_bytes,
)
from clbench.plugins import make_plan
from clbench.results import RunFolder
from clbench.strategy import Strategy
from clbench.toolkit import Training

SCENARIO = Path(__file__).with_name("many_tasks.py")
NO_HASH = ""  # these checkpoints belong to no run


@dataclass(frozen=True)
class Size:
    """After ``tasks`` tasks: bytes that the strategy stores, of the checkpoint on disk, and in memory."""

    tasks: int
    stored_bytes: int
    checkpoint_bytes: int
    memory_bytes: int | None


@dataclass(frozen=True)
class Moment:
    """The strategy's state just before task ``task`` (from 1), in the folder ``state``: to take steps from there.

    On disk, so that memory shows what the strategy takes.
    """

    task: int
    state: Path


def prepare_many(strategy: str, tasks: int, options: dict[str, Any]) -> Prepared:
    """Tasks, model and strategy of the scenario with many tasks."""
    given = {"scenario": str(SCENARIO), "strategy": strategy, "scenario_args": {"tasks": tasks}, **options}
    return prepare(make_plan(given), Clock())


def learn(prepared: Prepared, moments: Sequence[int], folder: RunFolder) -> tuple[list[Moment], list[Size]]:
    """Learn the tasks one after the other; at each task of ``moments`` keep the state before it and the sizes after it.

    Every step, hook and checkpoint is what the engine would make; there is no evaluation.
    """
    kept, sizes = [], []
    learner, strategy = prepared.learner, prepared.strategy
    state = State(learned=[name for name, _ in learner.named_parameters()])
    for number, task in enumerate(prepared.tasks, start=1):
        learner.tasks_seen = number
        if number in moments:
            kept.append(Moment(number, folder.path / f"before task {number}"))
            save_checkpoint(kept[-1].state, strategy.state_dict(), NO_HASH)
        strategy.before_task(learner, task)
        training = Training(prepared.config, strategy, learner, task, task.train)
        while training.step < training.steps:
            training.run_step()
        strategy.after_task(learner, task)
        if number in moments:
            with CheckpointWriter(folder.checkpoint, prepared.config.hash8) as writer:
                save(prepared, state, writer)
            files = sum(path.stat().st_size for path in folder.checkpoint.iterdir())
            sizes.append(Size(number, tensor_bytes(strategy.state_dict()), files, memory_bytes(learner.device)))
    return kept, sizes


def step_times(
    prepared: Prepared, moments: Sequence[Moment], build: Callable[[], Strategy], turns: int, steps: int
) -> dict[int, list[float]]:
    """Mean seconds of ``steps`` steps on each moment's task, one moment after the other in every turn.

    Args:
        prepared: the model as it is now; its weights move on through all moments.
        moments: where to take steps from.
        build: a new strategy, which is given the moment's state.
        turns: how often.
        steps: of one measurement, on the same texts again and again.
    """
    calls = {}
    for moment in moments:
        strategy = build()
        strategy.setup(prepared.learner)
        state = load_checkpoint(moment.state, NO_HASH)
        assert state is not None
        strategy.load_state_dict(state)
        task = prepared.tasks[moment.task - 1]
        examples = task.train[: prepared.config.batch_size]
        config = prepared.config.model_copy(update={"epochs": steps * (turns + 1)})
        training = Training(config, strategy, prepared.learner, task, examples)
        calls[str(moment.task)] = lambda training=training: [training.run_step() for _ in range(steps)]
    found = interleave(calls, turns, prepared.learner.device)
    return {int(number): [seconds / steps for seconds in values] for number, values in found.items()}


def trainable_bytes(prepared: Prepared) -> int:
    """Bytes of the weights that learn."""
    return parameter_bytes(prepared.learner.model)


def memory_bytes(device: torch.device) -> int | None:
    """Bytes of tensors on a GPU, else those that the process has in memory; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    status = Path("/proc/self/status")
    found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else None
