"""Recipes beside other strategies: what each sees of the others, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench.data import TaskData
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.plugins.plan import Plan, make_plan
from clbench.results import RunFolder
from clbench.strategy import Stack, Strategy
from clbench.toolkit import Training, layer_depths, mean_loss, time_to_measure
from tests.conftest import TOY
from tests.helpers import Examples, MakeLearner, slow, strategy, task_data, weights
from tests.strategies.test_recipes import config, training

OPTIONS: dict[str, Any] = {**TOY, "precision": "fp32"}


def run_with(watcher: Strategy, expression: str, folder: Path, name: str = "watcher", **more: Any) -> RunFolder:
    """A run with one strategy more, whose ``name`` says when its hooks come."""
    plan = make_plan({**OPTIONS, **more, "strategy": expression, "output_dir": str(folder)})
    members = sorted([*plan.strategy.members, (name, watcher)], key=lambda member: member[0])
    engine.run(Plan(plan.config, plan.tasks, Stack(members)), Reporter())
    return engine.run_folder(plan.config)


def events(folder: RunFolder, event: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder.path / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["event"] == event]


def test_a_task_is_measured_evenly_and_at_its_end(make_learner: MakeLearner) -> None:
    """38 steps and 10 measurements: after ⌈3.8 k⌉ steps; of 4 steps each."""
    learner = make_learner()
    found: dict[int, list[int]] = {}
    for steps in (38, 4):
        learner.steps = steps
        found[steps] = []
        for learner.step in range(steps):
            found[steps] += [learner.step + 1] if time_to_measure(learner, 10) else []
    assert found == {38: [4, 8, 12, 16, 19, 23, 27, 31, 35, 38], 4: [1, 2, 3, 4]}


def test_early_stopping_undoes_nothing_while_the_loss_falls(
    make_learner: MakeLearner, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """19 steps, of which every other was measured, and so not the last."""
    learner, losses = make_learner(), iter(range(100, 0, -1))
    stopping = strategy("early_stopping", learner)
    monkeypatch.setattr(inspect.getmodule(type(stopping)), "mean_loss", lambda *_: float(next(losses)))
    examples = make_examples(learner.labels, 8)
    task = task_data(learner, 0, examples, examples[:2])
    work = Training(config(task_steps=19), Stack([("early_stopping", stopping)]), learner, task, examples)
    stopping.before_task(learner, task)
    for _ in range(19):
        work.run_step()
        assert not stopping.stop(learner, task)
    last = weights(learner)
    stopping.after_steps(learner, task)
    assert all(torch.equal(value, last[name]) for name, value in weights(learner).items())


class Dev(Strategy):
    """What the model loses on all tasks' dev examples at the end of the steps."""

    def __init__(self) -> None:
        self.tasks: list[TaskData] = []
        self.dev_loss = 0.0

    def after_steps(self, learner: Learner, task: TaskData) -> None:
        self.tasks.append(task)
        self.dev_loss = mean_loss(learner, task.dev)


@pytest.mark.parametrize(("expression", "counts"), [("joint", [180]), slow("cumulative", [60, 120, 180])])
def test_what_is_learned_together_is_one_task(expression: str, counts: list[int], tmp_path: Path) -> None:
    """by_size counts all rows, and early_stopping goes by all tasks' dev examples: its best is theirs."""
    more: dict[str, Any] = {"scenario_args": {"train": 60, "dev": 9, "test": 15}}
    folder = run_with(Dev(), f"{expression}+by_size", tmp_path, **more)
    assert [event["examples"] for event in events(folder, "by_size")] == counts
    watcher = Dev()
    folder = run_with(watcher, f"{expression}+early_stopping", tmp_path, "watcher", **more)
    assert [len(task.dev) for task in watcher.tasks] == [count * 9 // 60 for count in counts]
    assert len(watcher.tasks[-1].columns) == 9
    assert events(folder, "early_stopping")[-1]["dev_loss"] == pytest.approx(watcher.dev_loss)


class Prototypes(Strategy):
    """Those that answer when the others' task ends, and when all have."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []

    def after_task(self, learner: Learner, task: TaskData) -> None:
        layer: Any = learner.output_layer()
        self.found.append(layer.kept[0].clone())


def test_prototypes_are_there_before_others_read_them(tmp_path: Path) -> None:
    """A strategy that comes first by name sees what is there after the last."""
    first, last = Prototypes(), Prototypes()
    plan = make_plan({**OPTIONS, "strategy": "few_shot", "setting": "class", "output_dir": str(tmp_path)})
    members = [("a", first), *plan.strategy.members, ("z", last)]
    engine.run(Plan(plan.config, plan.tasks, Stack(members)), Reporter())
    assert len(first.found) == 3
    assert all(torch.equal(one, other) for one, other in zip(first.found, last.found, strict=True))


def test_a_teachers_copy_has_the_prototypes(make_learner: MakeLearner, make_examples: Examples) -> None:
    """Also through a checkpoint: into a copy that has others."""
    learner = make_learner()
    few_shot = strategy("few_shot", learner, shots=2)
    teacher = copy.deepcopy(learner.model)
    task = task_data(learner, 0, make_examples(learner.labels, 8))
    few_shot.before_task(learner, task)
    few_shot.after_task(learner, task)
    layer: Any = teacher.get_submodule("classifier")
    assert not torch.equal(layer.kept[0], few_shot.layer.kept[0])
    teacher.load_state_dict(learner.model.state_dict())
    for own, other in zip(few_shot.layer.kept, layer.kept, strict=True):
        assert torch.equal(own, other)


class Anchored(Strategy):
    """What l1 pulls modules of the newest task to, when its first gradient is there."""

    def __init__(self, l1: Any) -> None:
        self.l1 = l1
        self.missing: list[str] = []

    def before_step(self, learner: Learner) -> None:
        own = [name for name, p in learner.named_parameters() if p.ndim > 1 and not learner.is_head(name)]
        assert own
        self.missing += [name for name in own if name not in self.l1.centre]


@pytest.mark.parametrize("expression", ["lora_per_task", slow("prefix_tuning")])
def test_l1_pulls_each_tasks_module_to_where_it_began(expression: str, tmp_path: Path) -> None:
    plan = make_plan({**OPTIONS, "strategy": f"l1+{expression}", "output_dir": str(tmp_path)})
    watcher = Anchored(dict(plan.strategy.members)["l1"])
    engine.run(Plan(plan.config, plan.tasks, Stack([*plan.strategy.members, ("z", watcher)])), Reporter())
    assert watcher.missing == []


class LastLogits(Strategy):
    """What der has noted when a step begins and when it ends."""

    def __init__(self, der: Any) -> None:
        self.der = der
        self.pairs: list[tuple[Tensor, Tensor]] = []

    def loss(self, learner: Learner, batch: Any, logits: Tensor) -> None:
        self.pairs.append((batch["der_row"], logits.detach()))

    def after_step(self, learner: Learner) -> None:
        rows, first = self.pairs[0]
        assert len(self.pairs) == 2
        assert not torch.equal(first, self.pairs[1][1])
        assert torch.equal(self.der.logits[rows], first)
        self.pairs = []


def test_der_keeps_what_the_weights_answered_before_sams_step(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner = make_learner()
    examples = make_examples(learner.labels, 8)
    der, sam = strategy("der", learner), strategy("sam", learner)
    der.before_task(learner, task_data(learner, 0, examples))
    work = training(learner, examples, der, LastLogits(der), sam, task_steps=3)
    for _ in range(3):
        work.run_step()


class Passes(Strategy):
    """The weights with which each pass was made."""

    def __init__(self) -> None:
        self.found: list[dict[str, Tensor]] = []

    def loss(self, learner: Learner, batch: Any, logits: Tensor) -> None:
        self.found.append(weights(learner))


def test_sam_looks_around_among_what_has_thawed(make_learner: MakeLearner, make_examples: Examples) -> None:
    """In the first step the head alone: the second pass has another head, and the very body."""
    learner, passes = make_learner(), Passes()
    thawing, sam = strategy("gradual_unfreezing", learner), strategy("sam", learner)
    examples = make_examples(learner.labels, 8)
    thawing.before_task(learner, task_data(learner, 0, examples))
    training(learner, examples, passes, thawing, sam, task_steps=4).run_step()
    first, second = passes.found
    assert {name for name in first if not torch.equal(first[name], second[name])} == {
        name for name in first if learner.is_head(name)
    }


def test_a_student_learns_among_all_labels_with_the_runs_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside merge, which learns among a task's own labels, and bitfit, which has a rate of its own."""
    seen: list[tuple[bool, dict[str, float]]] = []
    steps = Training.run_all_steps

    def note(self: Training) -> None:
        seen.append((self.learner.local_labels, self.learner.learning_rates))
        steps(self)

    monkeypatch.setattr(Training, "run_all_steps", note)
    for expression in ("merge+student(epochs=1)", "bitfit+student(epochs=1)"):
        run_with(Dev(), expression, tmp_path, setting="class")
    assert seen == [(False, {"body": OPTIONS["lr"], "head": OPTIONS["head_lr"]})] * 6


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"strategy": "merge", "optimizer_state": "carried"}, "'merge' needs each task's optimizer anew"),
        ({"strategy": "seq_star", "optimizer_state": "carried"}, "'seq_star' needs each task's optimizer anew"),
        ({"strategy": "by_size+discriminative_rates"}, "each decides the rates of layers"),
    ],
)
def test_what_would_go_wrong_in_silence_is_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        make_plan({**OPTIONS, "setting": "class", **options})


@pytest.mark.parametrize("expression", ["alarm+few_shot", slow("alarm+student(epochs=1)")])
def test_alarm_stacks_as_replay_does(expression: str, tmp_path: Path) -> None:
    folder = run_with(Dev(), expression, tmp_path)
    assert (folder.read_result() or {})["status"] == "complete"


def test_seq_star_is_refused_where_its_rows_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seq_star: after the first task the output layer alone learns"):
        run_with(Dev(), "encoder_only+seq_star", tmp_path, setting="class")


def test_freezing_leaves_something_that_learns(make_learner: MakeLearner) -> None:
    """Without a head of the labels', as where a model writes, the whole body is all there is."""
    learner = make_learner()
    learner.head = dataclasses.replace(learner.head, output_layer=None, parameters=frozenset())
    assert max(layer_depths(learner).values()) == 2
    freeze = strategy("freeze", learner, layers=-1)
    with pytest.raises(InputError, match="freeze: layers=-1 leaves nothing that learns"):
        freeze.before_task(learner, task_data(learner, 0))


def test_without_a_head_the_last_layer_thaws_first(make_learner: MakeLearner) -> None:
    """Two layers and embeddings over 8 of 16 steps: one of the three from the start, all from the sixth on."""
    learner = make_learner()
    learner.head = dataclasses.replace(learner.head, output_layer=None, parameters=frozenset())
    thawing = strategy("gradual_unfreezing", learner)
    thawing.before_task(learner, task_data(learner, 0))
    depth, learner.steps, found = layer_depths(learner), 16, []
    for learner.step in (0, 4, 8):
        for _, parameter in learner.named_parameters():
            parameter.grad = torch.ones_like(parameter)
        thawing.before_step(learner)
        found.append({depth[name] for name, p in learner.named_parameters() if p.grad is not None})
    assert found == [{2}, {1, 2}, {0, 1, 2}]


def test_processes_share_the_gradients_of_all_that_is_stepped(
    make_learner: MakeLearner, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parameter of a strategy's own, as multi_task's log variances, is none of the model's."""
    own = nn.Parameter(torch.zeros(2))

    class Own(Strategy):
        def parameter_groups(self, learner: Learner, groups: Any) -> Any:
            return [*groups, {"params": [own], "lr": 0.1, "weight_decay": 0.0}]

    shared: list[Any] = []
    monkeypatch.setattr("clbench.models.ranks.sum_gradients", lambda parameters: shared.extend(parameters))
    learner = make_learner()
    training(learner, make_examples(learner.labels, 4), Own(), task_steps=1).run_step()
    assert any(parameter is own for parameter in shared)
    assert {id(p) for _, p in learner.named_parameters()} < {id(p) for p in shared}
