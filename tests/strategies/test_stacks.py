"""Stacks: either order gives the same to the last bit or is refused, and no member undoes another in silence."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clbench import plugins
from clbench.data import TaskData
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.plugins.plan import Plan, make_plan
from clbench.strategy import Stack, Strategy
from tests.conftest import TOY
from tests.helpers import Examples, MakeLearner, RunToy, Weights, strategy, task_data

OPTIONS: dict[str, Any] = {**TOY, "precision": "fp32"}
TELLING = (
    *("ewc+wise", "ewc+ema", "mas+wise", "distillation+wise", "ema+si", "rwalk+wise", "rwalk+si"),
    *("agem+seq_star", "adapter(shared=True)+distillation", "replay+er_ace", "agem+ewc", "lora_sequential+seq_star"),
)


def outcome(expression: str, folder: Path, setting: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The predictions with their confidences and the final weights."""
    plan = make_plan({**OPTIONS, "strategy": expression, "setting": setting, "output_dir": str(folder)})
    watcher = Weights()
    members = [*plan.strategy.members, ("watcher", watcher)]
    engine.run(Plan(plan.config, plan.tasks, Stack(members)), Reporter())
    return engine.run_folder(plan.config).read_predictions(), watcher.after[-1]


def reversed_order(expression: str) -> str:
    return "+".join(reversed(expression.split("+")))


def difference(expression: str, folder: Path, setting: str) -> str:
    """How the two orders differ; empty where they do not, or where both are refused, also when they meet the model."""
    try:
        said, ended = outcome(expression, folder, setting)
    except InputError:
        with pytest.raises(InputError):
            outcome(reversed_order(expression), folder, setting)
        return ""
    other_said, other_ended = outcome(reversed_order(expression), folder, setting)
    if said != other_said:
        return f"{expression}: other predictions"
    moved = [name for name, value in ended.items() if not torch.equal(value, other_ended[name])]
    return f"{expression}: other weights, {moved[:3]}" if moved or ended.keys() != other_ended.keys() else ""


@pytest.mark.parametrize("expression", TELLING)
def test_either_order_gives_the_same_to_the_last_bit(expression: str, tmp_path: Path) -> None:
    assert not difference(expression, tmp_path, "class" if "er_ace" in expression else "task")


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["task", "class"])
def test_every_pair_gives_the_same_in_either_order_or_is_refused(setting: str, tmp_path: Path) -> None:
    names = [*(name for name in plugins.available("strategy") if name != "adapter"), "adapter(shared=True)"]
    pairs = ["+".join(pair) for pair in itertools.combinations(sorted(names), 2)]
    assert [found for pair in pairs if (found := difference(pair, tmp_path, setting))] == []


@pytest.mark.parametrize("member", ["adapter(shared=True)", "lora_sequential", "seq_star"])
def test_a_teacher_does_not_move_with_its_student(
    member: str, make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner = make_learner()
    built = plugins.build("strategy", member.partition("(")[0], {"shared": True} if "(" in member else {})
    built.setup(learner)
    task = task_data(learner, 0, make_examples(learner.labels, 4))
    built.before_task(learner, task)
    distillation = strategy("distillation", learner)
    distillation.after_task(learner, task)
    batch = learner.collate(task.train)
    learner.model.eval()
    with torch.no_grad():
        taught = learner.logits(batch, distillation.teacher)
        for parameter in learner.model.parameters():
            parameter.add_(torch.linspace(0, 1, parameter.numel()).view_as(parameter))
        assert torch.equal(learner.logits(batch, distillation.teacher), taught)
        assert not torch.allclose(learner.logits(batch), taught)


@pytest.mark.parametrize("order", ["ewc+wise(coefficient=0.5)", "wise(coefficient=0.5)+ewc", "ema+ewc", "mas+ema"])
def test_an_anchor_is_the_weights_that_answer(order: str, tmp_path: Path) -> None:
    plan = make_plan({**OPTIONS, "strategy": order, "output_dir": str(tmp_path)})
    watcher = Weights()
    members = [*plan.strategy.members, ("watcher", watcher)]
    engine.run(Plan(plan.config, plan.tasks, Stack(members)), Reporter())
    anchored = dict(plan.strategy.members)["mas" if "mas" in order else "ewc"]
    if "mas" in order:
        assert all(torch.equal(value, watcher.after[-1][name]) for name, value in anchored.centre.items())  # type: ignore[attr-defined]
    # The centre of EWC's folded quadratic lies between the answering weights of the tasks.
    else:
        for name, centre in anchored.centre.items():  # type: ignore[attr-defined]
            answering = torch.stack([after[name] for after in watcher.after])
            assert (centre >= answering.amin(0) - 1e-5).all()
            assert (centre <= answering.amax(0) + 1e-5).all()


@pytest.mark.parametrize("order", ["agem+seq_star", "seq_star+agem", "ewc+seq_star", "seq_star+ewc"])
def test_seq_stars_old_rows_stay_in_every_stack(order: str, tmp_path: Path) -> None:
    watcher = Weights()
    plan = make_plan({**OPTIONS, "strategy": order, "setting": "class", "output_dir": str(tmp_path)})
    engine.run(Plan(plan.config, plan.tasks, Stack([*plan.strategy.members, ("watcher", watcher)])), Reporter())
    rows = [after["classifier.weight"] for after in watcher.after]
    assert torch.equal(rows[1][:3], rows[0][:3])
    assert torch.equal(rows[2][:6], rows[1][:6])


AVERAGING = ("ema", "ema(next_task='average')", "wise(coefficient=0.5)")
FREEZING = ("seq_star", "lora_incremental", "o_lora")


class Learning(Weights):
    """Also which parameters learn in each task."""

    def __init__(self) -> None:
        super().__init__()
        self.learning: list[set[str]] = []

    def before_task(self, learner: Learner, task: TaskData) -> None:
        super().before_task(learner, task)
        self.learning.append({name for name, _ in learner.named_parameters()})


def drifted(expression: str, folder: Path, setting: str) -> list[str]:
    """What was frozen in a task and yet answers otherwise after it than before: parameters, and rows of old labels."""
    watcher = Learning()
    plan = make_plan({**OPTIONS, "strategy": expression, "setting": setting, "output_dir": str(folder)})
    engine.run(Plan(plan.config, plan.tasks, Stack([*plan.strategy.members, ("watcher", watcher)])), Reporter())
    moved, found = set[str](), []
    for task, learning in enumerate(watcher.learning):
        for name, value in watcher.after[task].items():
            before = watcher.after[task - 1][name] if task else watcher.start[name]
            frozen = name not in learning
            of_old_rows = ".classifier." in f".{name}" and task > 0 and setting != "domain"  # where labels are shared
            if frozen and not torch.equal(value, before):
                found.append(f"task {task}: {name}")
            if of_old_rows and not torch.equal(value[: 3 * task], before[: 3 * task]):
                found.append(f"task {task}: rows of {name}")
            moved |= {name} if not torch.equal(value, before) else set()
    assert moved, "nothing learned, which proves nothing"
    return found


@pytest.mark.parametrize("averaging", AVERAGING[::2])
@pytest.mark.parametrize("freezing", FREEZING)
def test_what_is_frozen_is_not_averaged_away(freezing: str, averaging: str, tmp_path: Path) -> None:
    assert drifted(f"{averaging}+{freezing}", tmp_path, "class") == []


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
@pytest.mark.parametrize("averaging", AVERAGING)
def test_no_averaging_moves_what_any_strategy_has_frozen(averaging: str, setting: str, tmp_path: Path) -> None:
    names = [*sorted(plugins.available("strategy")), "adapter(shared=True)"]
    found = []
    for name in names:
        try:
            make_plan({**OPTIONS, "strategy": f"{averaging}+{name}", "setting": setting})
        except InputError:
            continue
        told = drifted(f"{averaging}+{name}", tmp_path, setting)
        # Rows are held by those alone; others go on learning them, or average what the mask leaves as it is.
        found += [f"{name}: {line}" for line in told if name in FREEZING or "rows of" not in line]
    assert found == []


@pytest.mark.parametrize("freezing", ["freeze", "freeze(layers=0)"])
def test_a_merge_leaves_frozen_weights_as_they_were_pretrained(freezing: str, tmp_path: Path) -> None:
    assert drifted(f"merge+{freezing}", tmp_path, "domain") == []


def test_a_recipe_stacks_with_what_no_remedy_does(tmp_path: Path) -> None:
    """Half the rate a layer down, in each task's module; not with a loop of its own, nor where it would be alone."""
    with pytest.raises(InputError, match="gdumb trains a fresh model on its memory after each task"):
        make_plan({**OPTIONS, "strategy": "freeze+gdumb"})
    for refused in ("gdumb+sam", "naive+sam", "joint+sam+ewc", "lora_per_task+sam+replay"):
        with pytest.raises(InputError, match="cannot be stacked"):
            make_plan({**OPTIONS, "strategy": refused})
    make_plan({**OPTIONS, "strategy": "joint+sam"})
    plan = make_plan(
        {**OPTIONS, "strategy": "lora_per_task+discriminative_rates(decay=0.5)", "output_dir": str(tmp_path)}
    )
    rates: list[set[float]] = []

    class Rates(Strategy):
        def before_step(self, learner: Learner) -> None:
            top = max(group["lr"] for group in learner.parameter_groups if group["weight_decay"])
            rates.append({group["lr"] / top for group in learner.parameter_groups if group["weight_decay"]})

    engine.run(Plan(plan.config, plan.tasks, Stack([*plan.strategy.members, ("rates", Rates())])), Reporter())
    assert len(rates) > 3
    assert all(own == {0.5, 1.0} for own in rates)


@pytest.mark.parametrize(
    ("expression", "line"),
    [
        ("ema+wise", "'ema' and 'wise' cannot be stacked: each decides which weights answer"),
        (
            "frozen+lora_sequential",
            "'frozen' and 'lora_sequential' cannot be stacked: each decides which weights learn",
        ),
        ("dropout+r_drop", "'dropout' and 'r_drop' cannot be stacked: each decides the rate of dropout"),
        (
            "bitfit+lora_per_task",
            "'bitfit' and 'lora_per_task' cannot be stacked: each decides which weights learn",
        ),
        ("gem+agem", "'gem' and 'agem' cannot be stacked: each decides onto what gradients are projected"),
        ("er_ace+der", "'er_ace' and 'der' cannot be stacked: each decides what each row's loss is"),
    ],
)
def test_two_that_decide_the_same_are_refused(expression: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        make_plan({**OPTIONS, "strategy": expression})
    assert str(caught.value) == line


def test_a_recipe_is_refused_where_nothing_of_the_model_learns(run_toy: RunToy) -> None:
    with pytest.raises(
        InputError, match=r"'early_stopping' has no effect in 'early_stopping\+ncm': nothing of the mod"
    ):
        run_toy("early_stopping+ncm")
    assert run_toy("balance+ncm")  # changes what ncm reads
