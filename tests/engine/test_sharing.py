"""What runs share changes no number, and only what is the same is shared."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from clbench import Strategy, TaskData, engine
from clbench.cli import main
from clbench.clock import Clock
from clbench.engine import sharing
from clbench.engine.preparation import prepare
from clbench.learner import Learner
from clbench.plugins import Plan, make_plan
from clbench.strategy import Stack
from clbench.toolkit import evaluate_all
from tests.helpers import MakeLearner

SAME = ("naive", "replay", "ewc(fisher_samples=4)", "distillation", "joint", "si")  # before training
OTHERS = ("augment", "lora_sequential", "seq_star", "lora_per_task", "ncm")


def plan(strategy: str, folder: Path, **more: Any) -> Plan:
    sizes = {"train": 30, "dev": 9, "test": 15}
    options = {"scenario": "toy", "epochs": 1, "device": "cpu", "scenario_args": sizes, "output_dir": str(folder)}
    return replace(make_plan({**options, "strategy": strategy, **more}), shared=folder)


def test_the_first_two_rows_are_measured_once_a_seed_and_no_number_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def counted(learner: Learner, strategy: Stack, *rest: Any) -> Any:
        measured.append(f"{strategy.members[0][0]}, seed {learner.seed}")
        return evaluate_all(learner, strategy, *rest)

    monkeypatch.setattr(sharing, "evaluate_all", counted)
    found: dict[str, list[Any]] = {"shared": [], "apart": []}
    for strategy, seed in (("naive", 0), ("naive", 1), ("replay", 0), ("ewc(fisher_samples=4)", 1)):
        for name, folder in (("shared", tmp_path), ("apart", None)):
            own = replace(plan(strategy, tmp_path / name, lr=5e-3, head_lr=5e-2, seed=seed), shared=folder)
            result = engine.run(own, engine.Reporter())
            found[name].append({key: value for key, value in result.items() if key != "cost"})  # hashes among them
    assert measured == ["naive, seed 0"] * 2 + ["naive, seed 1"] * 2  # the others come to their weights
    assert found["shared"] == found["apart"]
    assert len({result["predictions_sha256"] for result in found["apart"]}) == 4


@pytest.mark.parametrize(("more", "shares"), [((), True), (("--no-sharing",), False)])
def test_several_runs_of_a_command_share_unless_told_otherwise(
    more: tuple[str, ...], shares: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[Path | None]] = []

    def note(plans: list[Plan], _: int) -> int:
        seen.append({plan.shared for plan in plans})
        assert all(plan.shared is None or plan.shared.is_dir() for plan in plans)
        return 0

    monkeypatch.setattr("clbench.commands.side_by_side.run_plans", note)
    command = ["run", "--scenario", "toy", "--strategy", "naive", "--output-dir", str(tmp_path), *more]
    assert main(command) == 0
    assert main([*command, "--seed", "0,1"]) == 0
    alone, (folder,) = seen
    assert alone == {None}
    assert (folder is not None) == shares
    assert folder is None or not folder.exists()  # it goes with the command


@pytest.mark.parametrize("strategy", SAME)
def test_strategies_that_leave_the_model_alone_share(strategy: str, tmp_path: Path) -> None:
    assert prepare(plan(strategy, tmp_path), Clock()).shared == tmp_path


@pytest.mark.parametrize("strategy", OTHERS)
def test_strategies_that_change_the_model_or_answer_do_not(strategy: str, tmp_path: Path) -> None:
    assert prepare(plan(strategy, tmp_path), Clock()).shared is None


def test_a_run_costs_what_it_would_have_cost_alone(tmp_path: Path) -> None:
    """The row that is read counts with the seconds of the one that was measured: 1000, as we say here."""
    engine.run(plan("naive", tmp_path), engine.Reporter())
    (file,) = tmp_path.glob("*-0-*.pickle")
    kept, seconds = pickle.loads(file.read_bytes())
    assert seconds["eval"] > 0
    assert seconds["wall"] >= seconds["eval"]
    file.write_bytes(pickle.dumps((kept, {"eval": 1000.0, "wall": 1001.0})))
    cost = engine.run(plan("replay", tmp_path), engine.Reporter())["cost"]
    assert 1000 < cost["eval_seconds"] < 1100
    assert 1001 < cost["wall_seconds"] < 1100
    assert cost["train_seconds"] < 100


@pytest.mark.parametrize("more", [{"seed": 1}, {"lr": 2e-3}, {"setting": "domain"}, {"limit": 6}, {"evaluate": "seen"}])
def test_another_setting_shares_nothing(more: dict[str, Any], tmp_path: Path) -> None:
    keys = {sharing.science_key(plan(name, tmp_path, **options).config) for name in SAME[:3] for options in ({}, more)}
    assert len(keys) == 2


def test_a_damaged_disk_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space")

    monkeypatch.setattr(sharing, "write_atomic", full)
    assert engine.run(plan("naive", tmp_path), engine.Reporter())["status"] == "complete"
    assert not list(tmp_path.glob("*.pickle"))


class Meddler(Strategy):
    """Changes one thing in its setup."""

    def __init__(self, how: str) -> None:
        self.how = how

    def setup(self, learner: Learner) -> None:
        model: Any = learner.model
        weight = next(model.parameters())
        if self.how == "a weight":
            with torch.no_grad():
                weight.view(-1)[0] += 1e-6
        elif self.how == "a weight, behind autograd's back":
            weight.data.view(-1)[-1] *= -1
        elif self.how == "a buffer":
            model.register_buffer("extra", torch.zeros(1))
        elif self.how == "a module":
            model.classifier = nn.Linear(model.classifier.in_features, model.classifier.out_features)
        elif self.how == "a wrapped model":
            learner.model = nn.Sequential(model)
        elif self.how == "a hook":
            model.classifier.register_forward_hook(lambda *_: None)
        elif self.how == "a method":
            model.forward = model.forward
        elif self.how == "a number of a module":
            next(m for m in model.modules() if isinstance(m, nn.LayerNorm)).eps = 0.1
        elif self.how == "a number of the learner":
            learner.precision = "bf16"
        elif self.how == "a setting of the model":
            model.config.anything = 1


@pytest.mark.parametrize(
    "how",
    [
        *("a weight", "a weight, behind autograd's back", "a buffer", "a module", "a wrapped model", "a hook"),
        *("a method", "a number of a module", "a number of the learner", "a setting of the model"),
    ],
)
def test_whatever_a_setup_changes_is_seen(how: str, make_learner: MakeLearner) -> None:
    learner = make_learner()
    before = sharing.fingerprint(learner)
    Meddler("nothing").setup(learner)
    assert sharing.fingerprint(learner) == before
    Stack([("meddler", Meddler(how))]).setup(learner)
    assert sharing.fingerprint(learner) != before


class Later(Meddler):
    """Changes it once, when the first task is learned."""

    def setup(self, learner: Learner) -> None:
        return None

    def after_task(self, learner: Learner, task: TaskData) -> None:
        if task.position == 0:
            super().setup(learner)


@pytest.mark.parametrize(("how", "measured"), [("nothing", False), ("a weight", True), ("a method", True)])
def test_who_changes_the_model_after_the_first_task_measures_it_again(
    how: str, measured: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.run(plan("naive", tmp_path), engine.Reporter())
    rows: list[int] = []

    def counted(learner: Learner, strategy: Stack, *rest: Any) -> Any:
        rows.append(learner.tasks_seen)
        return evaluate_all(learner, strategy, *rest)

    for module in (sharing, engine.engine):
        monkeypatch.setattr(module, "evaluate_all", counted)
    made = replace(plan("ewc", tmp_path), strategy=Stack([("meddler", Later(how))]))
    engine.run(made, engine.Reporter())
    assert (1 in rows) == measured
    assert 0 not in rows
    assert len(made.tasks) in rows


def test_json_of_the_environment_says_nothing_of_sharing(tmp_path: Path) -> None:
    """It changes no number, so that nothing depends on it."""
    engine.run(plan("naive", tmp_path), engine.Reporter())
    assert "shared" not in json.loads(next(tmp_path.rglob("config.json")).read_text())
