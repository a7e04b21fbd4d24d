"""What tests of strategies build by hand: a strategy, a task, moved weights, a run whose weights are noted."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from clbench import plugins
from clbench.data import Example, TaskData
from clbench.learner import Learner
from clbench.plugins.plan import Plan, make_plan
from clbench.results.folder import RunFolder
from clbench.strategy import Stack, Strategy

MakeLearner = Callable[..., Learner]
Examples = Callable[..., list[Example]]
Run = tuple[dict[str, Any], RunFolder]
RunToy = Callable[..., Run]

ROOT = Path(__file__).resolve().parents[1]


def slow(*values: Any) -> Any:  # pytest names the type in a private module
    """Values of a parametrised test that run with ``-m slow``: what they find, others of their kind find as well."""
    return pytest.param(*values, marks=pytest.mark.slow)


# Ways to fine-tune, which stack with each other: what they do alone, -m slow looks at.
RECIPES = {name for name in plugins.available("strategy") if plugins.load("strategy", name).is_recipe}
RECIPE_STACKS = (
    "adaptive_decay+discriminative_rates+early_stopping+gradual_unfreezing+label_smoothing+schedule",
    "dropout+freeze+l1+sam",
    "augment+balance+by_size+clean_labels",
)
# A run with enough learning to move predictions.
MOVING: dict[str, Any] = {
    "scenario": "toy",
    "epochs": 3,
    "lr": 5e-3,
    "head_lr": 5e-2,
    "scenario_args": {"train": 60, "dev": 9, "test": 30},
    "device": "cpu",
}


@cache
def interpreters() -> dict[tuple[int, int], str]:
    """The CPythons that this machine has, by version: those on the PATH, and those that pyenv keeps."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [folder / f"python3.{minor}" for minor in range(6, 20) for folder in folders]
    candidates += sorted(kept.glob("3.*/bin/python"))
    found: dict[tuple[int, int], str] = {}
    for candidate in candidates:
        if candidate.is_file():
            program = "import sys; print(*sys.version_info[:2])"
            done = subprocess.run([str(candidate), "-c", program], capture_output=True, text=True, check=False)
            if done.returncode == 0:  # pyenv has stand-ins for versions that are not chosen here
                major, minor = map(int, done.stdout.split())
                found.setdefault((major, minor), str(candidate))
    return found


def strategy(name: str, learner: Learner | None = None, **arguments: Any) -> Any:
    """The strategy as it stands before the first task, or before ``setup`` if there is no learner."""
    built = plugins.build("strategy", name, arguments)
    if learner is not None:
        built.setup(learner)
    return built


def task_data(learner: Learner, position: int, train: Sequence[Example] = (), dev: Sequence[Example] = ()) -> TaskData:
    return TaskData(position, f"task {position}", learner.labels.columns[position], list(train), list(dev))


def weights(learner: Learner) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in learner.model.named_parameters()}


class Weights(Strategy):
    """Keeps a copy of the weights at the start and around every task; beside a strategy it changes nothing."""

    def __init__(self) -> None:
        self.start: dict[str, Tensor] = {}
        self.before: list[dict[str, Tensor]] = []
        self.after: list[dict[str, Tensor]] = []

    def setup(self, learner: Learner) -> None:
        self.start = weights(learner)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        self.before.append(weights(learner))

    def after_task(self, learner: Learner, task: TaskData) -> None:
        self.after.append(weights(learner))


def watched(
    name: str, folder: Path, options: dict[str, Any] = MOVING, **more: Any
) -> tuple[dict[str, Any], Weights, list[dict[str, Any]]]:
    """Run ``name`` with ``options`` and ``more``: the result, the weights around each task, and the log."""
    from clbench.engine import engine
    from clbench.engine.reporter import Reporter

    plan = make_plan({**options, **more, "strategy": name, "output_dir": str(folder)})
    watcher = Weights()
    watching = Plan(plan.config, plan.tasks, Stack([*plan.strategy.members, ("watcher", watcher)]))
    result = engine.run(watching, Reporter())
    log = engine.run_folder(plan.config).path / "log.jsonl"
    return result, watcher, [json.loads(line) for line in log.read_text().splitlines()]
