"""A first task that is the same for several runs is learned once, and no number changes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clbench import Batch, Learner, Strategy, TaskData, engine, plugins
from clbench.conformance.fingerprints import state_difference
from clbench.engine import idle_in_first_task, load_checkpoint, save_checkpoint
from clbench.plugins import Plan, make_plan
from clbench.strategy import Stack
from clbench.toolkit import Training
from tests.helpers import slow

# Whose steps in the first task are those of plain fine-tuning, and that answer with the model as it is.
SAME = {"naive", "replay", "agem", "gem", "ewc", "mas", "distillation", "wise", "cumulative"}
TOY: dict[str, Any] = {
    **{"scenario": "toy", "epochs": 1, "lr": 5e-3, "head_lr": 5e-2, "batch_size": 8, "dropout": 0.1, "device": "cpu"},
    "scenario_args": {"train": 30, "dev": 9, "test": 15},
}
SHORT = {"gdumb": "gdumb(epochs=2)", "ranpac": "ranpac(width=50)", "klda": "klda(width=50)"}


def plan(strategy: str, folder: Path, shared: Path | None, **more: Any) -> Plan:
    options = {**TOY, "strategy": strategy, "output_dir": str(folder), "keep_checkpoints": True, **more}
    return replace(make_plan(options), shared=shared)


def outcome(strategy: str, folder: Path, shared: Path | None, **more: Any) -> dict[str, Any]:
    """All of a run that does not depend on time and memory, its last state among it."""
    made = plan(strategy, folder, shared, **more)
    result, config = engine.run(made, engine.Reporter()), made.config
    cost = result.pop("cost")
    counts = {key: cost[key] for key in ("examples_seen", "trainable_parameters", "stored_bytes")}
    content = load_checkpoint(engine.run_folder(config).checkpoint, config.sha256)
    if content is not None:
        for part in ("seconds", "parts"):
            content["state"].pop(part)
    return {"result": result, "counts": counts, "checkpoint": content}


@pytest.fixture
def stepped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The task of each step that was taken."""
    names: list[str] = []
    run_step = Training.run_step

    def counted(training: Training) -> None:
        names.append(training.task.name)
        run_step(training)

    monkeypatch.setattr(Training, "run_step", counted)
    return names


@pytest.mark.parametrize(
    ("strategy", "more"),
    [
        ("replay", {"setting": "class"}),
        ("ewc(fisher_samples=4)", {"optimizer_state": "carried", "evaluate_every": 1}),
        ("distillation", {"setting": "domain"}),
        slow("ewc(fisher_samples=4)+replay(sampling='herding')", {"setting": "task", "accumulation": 2}),
    ],
)
def test_a_task_that_is_taken_over_changes_no_number(
    strategy: str, more: dict[str, Any], tmp_path: Path, stepped: list[str]
) -> None:
    alone = outcome(strategy, tmp_path / "alone", None, **more)
    steps = list(stepped)
    stepped.clear()
    outcome("naive", tmp_path / "shared", tmp_path, **more)
    assert stepped == steps
    stepped.clear()
    taken = outcome(strategy, tmp_path / "shared", tmp_path, **more)
    assert stepped == [name for name in steps if name != steps[0]]
    assert state_difference(alone, taken, "") == ""


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
@pytest.mark.parametrize("strategy", sorted(plugins.available("strategy")))
def test_every_strategy_ends_the_same_with_and_without(
    strategy: str, setting: str, tmp_path: Path, stepped: list[str]
) -> None:
    if setting not in plugins.load("strategy", strategy).settings:
        pytest.skip("it does not know this setting")
    outcome("naive", tmp_path / "shared", tmp_path, setting=setting)
    first = stepped[0]
    stepped.clear()
    name = SHORT.get(strategy, strategy)
    taken = outcome(
        name, tmp_path / "shared", tmp_path, setting=setting, **({"overwrite": True} if name == "naive" else {})
    )
    if strategy in SAME:
        assert first not in stepped
    alone = outcome(name, tmp_path / "alone", None, setting=setting, **({"overwrite": True} if name == "naive" else {}))
    assert state_difference(alone, taken, "") == ""


def test_which_strategies_share_is_told_by_their_hooks() -> None:
    def shares(name: str) -> bool:
        built = plugins.build("strategy", name, {})
        return idle_in_first_task(built) and not built.answers and not built.changes_examples

    idle = {name for name in plugins.available("strategy") if shares(name)}
    assert idle >= SAME
    # What the others change before the first step is seen when they run: modules, rates, what learns, their own loops.
    assert not idle & {
        "si",
        "rwalk",
        "ema",
        "er_ace",
        "der",
        "l2_anchor",
        "sam",
        "dropout",
        "schedule",
        "early_stopping",
    }


class Penalty(Strategy):
    idle_in_first_task = ("before_step",)

    def before_step(self, learner: Learner) -> None:
        return None


class Louder(Penalty):
    """What it inherits is said of a hook that is not its own."""

    def before_step(self, learner: Learner) -> None:
        return None


class Adds(Penalty):
    def loss(self, learner: Learner, batch: Batch, logits: Any) -> Any:
        return None


def test_a_claim_holds_for_the_class_that_defines_the_hook() -> None:
    assert idle_in_first_task(Penalty())
    assert not idle_in_first_task(Louder())
    assert not idle_in_first_task(Adds())
    assert not idle_in_first_task(Stack([("one", Penalty()), ("other", Adds())]))
    patched = Strategy()
    vars(patched)["after_step"] = print
    assert not idle_in_first_task(patched)


class Meddler(Strategy):
    """Changes one thing before the first task's first step."""

    def __init__(self, how: str) -> None:
        self.how = how

    def before_task(self, learner: Learner, task: TaskData) -> None:
        first = next(learner.model.parameters())
        if self.how == "a weight":
            first.data.view(-1)[0] += 1e-6
        elif self.how == "what learns":
            first.requires_grad_(False)
        elif self.how == "a rate":
            learner.learning_rates["body"] *= 2
        elif self.how == "which labels compete":
            learner.local_labels = True
        elif self.how == "a gradient's hook":
            first.register_hook(lambda gradient: gradient * 2)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared folder of a run of naive."""
    folder = tmp_path_factory.mktemp("learned")
    engine.run(plan("naive", folder, folder), engine.Reporter())
    return folder


HOWS = ("a weight", "what learns", "a rate", "which labels compete", "a gradient's hook", "nothing")


@pytest.mark.parametrize("how", HOWS)
def test_what_is_changed_before_the_first_step_is_seen(
    how: str, learned: Path, tmp_path: Path, stepped: list[str]
) -> None:
    made = plan("naive", tmp_path, learned)
    engine.run(replace(made, strategy=Stack([("naive", Meddler(how))])), engine.Reporter())
    assert ("kitchen" in stepped) == (how != "nothing")
    assert "station" in stepped


def copied(learned: Path, tmp_path: Path) -> Path:
    """Of ``learned`` how its first task ended, in ``tmp_path``."""
    (folder,) = (path for path in learned.glob("task-*") if path.is_dir())
    return Path(shutil.copytree(folder, tmp_path / folder.name))


def test_a_run_costs_what_it_would_have_cost_alone(learned: Path, tmp_path: Path) -> None:
    """What is taken over counts with the seconds of whoever learned it: 1000, as we say here."""
    folder = copied(learned, tmp_path)
    key = folder.name.removeprefix("task-")
    content = load_checkpoint(folder, key)
    assert content is not None
    assert 0 < content["seconds"]["train"] <= content["seconds"]["wall"] + 1e-3  # two readings of a clock
    save_checkpoint(folder, {**content, "seconds": {"train": 1000.0, "wall": 1001.0}}, key)
    cost = engine.run(plan("replay", tmp_path, tmp_path), engine.Reporter())["cost"]
    assert 1000 < cost["train_seconds"] < 1100
    assert 1001 < cost["wall_seconds"] < 1100


def test_what_is_damaged_or_of_another_run_is_learned_again(learned: Path, tmp_path: Path, stepped: list[str]) -> None:
    folder = copied(learned, tmp_path)
    other = outcome("replay", tmp_path, tmp_path, lr=4e-3)
    assert "kitchen" in stepped
    tensors = folder / "state.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"x")
    stepped.clear()
    found = outcome("replay", tmp_path / "damaged", tmp_path)
    assert "kitchen" in stepped
    assert found["result"]["predictions_sha256"] != other["result"]["predictions_sha256"]
    assert state_difference(found, outcome("replay", tmp_path / "whole", learned), "") == ""


def test_a_full_disk_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("clbench.engine.first_task.shutil.disk_usage", lambda _: usage)
    assert engine.run(plan("naive", tmp_path, tmp_path), engine.Reporter())["status"] == "complete"
    assert not [path for path in tmp_path.glob("task-*") if path.is_dir()]


def test_a_run_that_goes_on_inside_its_first_task_shares_nothing(tmp_path: Path) -> None:
    """What it told of its losses and its time is not whole."""
    made = plan("naive", tmp_path, tmp_path, checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        run_until(made, 2)
    engine.run(plan("naive", tmp_path, tmp_path, checkpoint_every=1), engine.Reporter())
    assert not [path for path in tmp_path.glob("task-*") if path.is_dir()]


def run_until(made: Plan, step: int) -> None:
    class Ends(engine.Reporter):
        def step(self, done: int, texts: int, loss: float) -> None:
            if done == step:
                raise KeyboardInterrupt

    engine.run(made, Ends())
