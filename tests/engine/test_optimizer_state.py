"""An optimizer's state that is carried from task to task: what a loop by hand gives, and the same after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench.config import identity
from clbench.conformance.trials import Trials, difference
from clbench.engine import engine, load_checkpoint
from clbench.engine.reporter import Reporter
from clbench.learner import Learner
from clbench.plugins.plan import Plan, make_plan
from clbench.strategy import Stack, Strategy
from tests.helpers import RunToy, slow


class Gradients(Strategy):
    """Keeps the gradients of every step of one parameter, and the weights before and after all of them."""

    name = "classifier.weight"

    def __init__(self) -> None:
        self.gradients: list[Tensor] = []

    def _weight(self, learner: Learner) -> nn.Parameter:
        return learner.model.get_parameter(self.name)

    def setup(self, learner: Learner) -> None:
        self.start = self._weight(learner).detach().clone()

    def before_step(self, learner: Learner) -> None:
        gradient = self._weight(learner).grad
        assert gradient is not None
        self.gradients.append(gradient.clone())

    def after_step(self, learner: Learner) -> None:
        self.end = self._weight(learner).detach().clone()


@pytest.mark.parametrize("state", ["carried", "fresh"])
def test_carried_moments_are_those_of_one_optimizer_over_all_tasks(
    state: str, toy: dict[str, Any], tmp_path: Path
) -> None:
    given = {"schedule": "constant", "warmup": 0.0, "max_grad_norm": "inf", "weight_decay": 0.0, "task_steps": 3}
    options = {key: value for key, value in toy.items() if key != "epochs"}
    plan = make_plan({**options, **given, "strategy": "naive", "optimizer_state": state, "output_dir": str(tmp_path)})
    seen = Gradients()
    engine.run(Plan(plan.config, plan.tasks, Stack([*plan.strategy.members, ("seen", seen)])), Reporter())
    weight = nn.Parameter(seen.start)
    count = len(plan.tasks)
    assert len(seen.gradients) == 3 * count
    optimizer = torch.optim.AdamW([weight], plan.config.head_lr, weight_decay=0.0)
    for step, gradient in enumerate(seen.gradients):
        if state == "fresh" and step % 3 == 0:
            optimizer.state.clear()
        weight.grad = gradient
        optimizer.step()
    assert torch.allclose(weight, seen.end, atol=1e-6)


@pytest.mark.parametrize("optimizer", [slow({}), {"optimizer": "sgd", "momentum": 0.9}])
def test_a_run_that_is_cut_off_everywhere_carries_the_same_state(optimizer: dict[str, Any], tmp_path: Path) -> None:
    trials = Trials("replay", tmp_path)
    assert trials.load() == ""
    options = {**optimizer, "optimizer_state": "carried"}
    reference = trials.run(trials.plan(**options))
    assert trials.cut_everywhere(reference, **options) == ""
    fresh = trials.run(trials.plan(**optimizer))
    assert "of kitchen" not in difference(reference, fresh)  # the first task's steps are the same
    assert difference(reference, fresh)


def test_what_does_not_learn_keeps_its_state_until_it_does(run_toy: RunToy, tmp_path: Path) -> None:
    """Each task of lora_per_task has a module of its own, of which the state is kept by its name."""
    options = {"optimizer_state": "carried", "keep_checkpoints": True}
    _, folder = run_toy("lora_per_task(rank=2)", tmp_path, **options)
    content = load_checkpoint(folder.checkpoint, identity(folder.read_config()))
    assert content is not None
    kept = content["state"]["optimizer"]
    names = {name.split(".lora_A.")[1].split(".")[0] for name in kept if ".lora_A." in name}
    assert len(names) == 3
    steps = {int(value["step"]) for name, value in kept.items() if ".lora_A." in name}
    assert steps == {4}  # 30 examples in batches of 8, one epoch, each module in its own task alone
