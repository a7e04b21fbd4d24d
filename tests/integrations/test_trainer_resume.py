"""A Trainer's script that was killed and is started again: from its checkpoints, and from the ends of its tasks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from clbench.clock import Clock
from clbench.engine.preparation import Prepared, prepare
from clbench.integrations.trainer import ContinualLearning
from clbench.integrations.trainer.arguments import compared
from clbench.integrations.trainer.hooks import TaskHooks
from clbench.integrations.trainer.refusals import PROVEN
from clbench.plugins.plan import make_plan
from clbench.results import RunFolder
from tests.helpers import slow
from tests.integrations.test_trainer import OPTIONS, STACK, Rows, line, make_trainer


class Killed(Exception):
    """As the process's end would be."""


class Kill(TrainerCallback):  # type: ignore[misc]  # transformers has no types for it
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise Killed


def make_prepared(folder: Path, setting: str = "domain") -> Prepared:
    options = {**OPTIONS, "dropout": 0.1, "setting": setting, "strategy": "naive", "output_dir": str(folder)}
    return prepare(make_plan(options), Clock())


def script(
    expression: str, folder: Path, setting: str = "domain", kill: tuple[int, int] | None = None, **more: Any
) -> dict[str, Any]:
    """A person's script, from its beginning; what it has at its end. ``kill`` is in which task, after which step."""
    prepared = make_prepared(folder, setting)
    learning = ContinualLearning(expression, str(folder / "out"), setting=setting, state_dir=str(folder / "state"))
    scores, steps, losses = [], [], torch.zeros(0)
    for position, task in enumerate(prepared.tasks):
        saving = {"save_strategy": "steps", "save_steps": 3, **more}
        trainer = make_trainer(prepared, position, folder / task.name, ordered=False, **saving)
        if kill is not None and kill[0] == position:
            trainer.add_callback(Kill(kill[1]))
        learning.attach(trainer, task=task.name, test=Rows(prepared.tests[position]))
        done = trainer.train(resume_from_checkpoint=learning.checkpoint(trainer))
        if isinstance(learning.hooks, TaskHooks):
            losses = torch.stack(learning.hooks.losses)
        scores.append(learning.end_task(trainer))
        steps.append(done.global_step)
    found = learning.result()
    return {
        **{"scores": scores, "steps": steps, "losses": losses, "model": dict(prepared.learner.model.state_dict())},
        **{"strategy": learning.strategy.state_dict(), "result": found, "random": torch.get_rng_state()},
        "predictions": RunFolder(Path(found["folder"])).read_predictions(),
    }


def equal(one: Any, other: Any) -> bool:
    """To the bit, in nested dicts and lists."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@pytest.mark.parametrize(
    ("expression", "setting", "kill", "more"),
    [
        (STACK, "domain", (1, 3), {"num_train_epochs": 1, "save_steps": 2}),
        slow(STACK, "domain", (1, 5), {}),
        slow(STACK, "task", (0, 5), {}),
        slow(STACK, "task", (1, 2), {}),  # before the second task's first checkpoint
        slow(STACK, "class", (1, 4), {"save_steps": 2, "gradient_accumulation_steps": 2}),
        slow(STACK, "domain", (1, 8), {"save_strategy": "epoch", "bf16": True}),
        *(slow(name, "task", (1, 5), {}) for name in PROVEN),
    ],
)
def test_it_ends_as_if_nothing_had_happened(
    expression: str, setting: str, kill: tuple[int, int], more: dict[str, Any], tmp_path: Path
) -> None:
    """Losses, weights, buffers, the strategy's state, predictions and matrix, to the bit; dropout is on."""
    expected = script(expression, tmp_path / "whole", setting, **more)
    with pytest.raises(Killed):
        script(expression, tmp_path / "killed", setting, kill, **more)
    found = script(expression, tmp_path / "killed", setting, **more)
    steps = 4 * more.get("num_train_epochs", 2)
    assert found["steps"] == [0 if position < kill[0] else steps for position in range(2)]
    for key in ("scores", "losses", "model", "strategy", "predictions", "random"):
        assert equal(found[key], expected[key]), key
    for key in ("accuracy_matrix", "metrics", "config_sha256", "predictions_sha256"):
        assert found["result"][key] == expected["result"][key]
    assert found["result"]["cost"]["examples_seen"] == expected["result"]["cost"]["examples_seen"]


def test_a_strategy_that_cannot_go_on_says_so(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    text = '"""Mine."""\n\nfrom clbench import Strategy\n\n\nclass Mine(Strategy):\n    resumable = False\n'
    mine.write_text(text, encoding="utf-8")
    assert "'mine' cannot go on from a state" in line(lambda: ContinualLearning(str(mine), state_dir=str(tmp_path)))


def test_states_of_something_else_are_refused(tmp_path: Path) -> None:
    """Another task's checkpoint, another strategy, other data, another task's turn, a folder that is no state."""
    with pytest.raises(Killed):
        script("naive", tmp_path, kill=(1, 4))
    prepared = make_prepared(tmp_path)
    one, two = prepared.tasks
    tests = [Rows(test) for test in prepared.tests]

    def learning(strategy: str = "naive", state: str = "state") -> ContinualLearning:
        return ContinualLearning(strategy, str(tmp_path / "out"), state_dir=str(tmp_path / state))

    trainers = [make_trainer(prepared, n, tmp_path / task.name, ordered=False) for n, task in enumerate(prepared.tasks)]
    assert "belongs to the configuration" in line(lambda: learning("l1").attach(trainers[0], one.name, tests[0]))
    assert f"allowed: {one.name!r}" in line(lambda: learning().attach(trainers[0], two.name, tests[0]))
    assert "its data or labels are not" in line(lambda: learning().attach(trainers[0], one.name, tests[1]))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    assert "holds something else" in line(lambda: learning(state="mine").attach(trainers[0], one.name, tests[0]))
    rate, trainers[0].args.learning_rate = trainers[0].args.learning_rate, 0.5
    assert f"it was trained with learning_rate = {rate}, not 0.5" in line(
        lambda: learning().attach(trainers[0], one.name, tests[0])
    )
    trainers[0].args.learning_rate = rate
    going_on = learning()
    going_on.attach(trainers[0], one.name, tests[0])
    assert f"end task {one.name!r} first" in line(going_on.result)
    assert going_on.checkpoint(trainers[0]) is None
    trainers[0].train()
    going_on.end_task(trainers[0])
    assert "train" not in vars(trainers[0])
    going_on.attach(trainers[1], two.name, tests[1])
    last = going_on.checkpoint(trainers[1])
    assert last is not None
    assert Path(last).name == "checkpoint-3"
    changed, other_rate = learning(), make_trainer(prepared, 1, tmp_path / two.name, ordered=False)
    changed.attach(trainers[0], one.name, tests[0])
    changed.end_task(trainers[0])
    other_rate.args.learning_rate = 0.5
    changed.attach(other_rate, two.name, tests[1])
    assert changed.checkpoint(other_rate) is None  # what it has was trained otherwise
    other = str(tmp_path / one.name / "trainer" / "checkpoint-6")
    assert "a checkpoint of this task" in line(lambda: trainers[1].train(resume_from_checkpoint=other))
    optimizer = Path(last) / "optimizer.pt"
    optimizer.rename(optimizer.with_suffix(".away"))  # as with save_only_model
    assert "has no optimizer.pt" in line(lambda: trainers[1].train(resume_from_checkpoint=True))
    assert going_on.checkpoint(trainers[1]) is None
    optimizer.with_suffix(".away").rename(optimizer)
    shutil.rmtree(Path(last) / "clbench")
    assert "has no state of the strategy beside it" in line(lambda: trainers[1].train(resume_from_checkpoint=True))
    assert going_on.checkpoint(trainers[1]) is None
    shutil.rmtree(last)
    assert "has no checkpoint; allowed: " in line(lambda: trainers[1].train(resume_from_checkpoint=True))


def test_a_batch_may_be_shared_out_otherwise() -> None:
    """Eight rows a step of one process are two's of two rows each, twice: 8 = 2 · 2 · 2; sixteen are others."""
    one = compared({"per_device_train_batch_size": 8, "learning_rate": 0.1}, 1)
    two = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 0.1, "world_size": 2}
    assert compared(two, 2) == one == {"learning_rate": 0.1, "batch size": 8}
    assert compared(two, 4) != one
