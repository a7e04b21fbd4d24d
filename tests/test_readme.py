"""The README's examples are what a newcomer copies: each is run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from clbench.clock import Clock
from clbench.engine import engine
from clbench.engine.preparation import prepare
from clbench.engine.reporter import Reporter
from clbench.plugins.plan import make_plan
from tests.helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = {"scenario_args": {"train": 30, "dev": 9, "test": 15}, "epochs": 2}


def block(name: str) -> str:
    """The code block under the comment ``<!-- name -->``."""
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found is not None, name
    return found[1]


def test_scenario_example_is_short_and_reads_a_csv(tmp_path: Path) -> None:
    source = block("scenario example")
    assert len([line for line in source.splitlines() if line.strip()]) <= 15
    (tmp_path / "tickets.py").write_text(source)
    rows = [
        f"{task},{task} {word} number {i},{word}"
        for task in ("app", "web")
        for word in ("ok", "bad")
        for i in range(12)
    ]
    (tmp_path / "tickets.csv").write_text("\n".join(["task,text,label", *rows]) + "\n")
    plan = make_plan(
        {
            "scenario": str(tmp_path / "tickets.py"),
            "strategy": "naive",
            "model": "tiny",
            "epochs": 1,
            "scenario_args": {"path": str(tmp_path / "tickets.csv")},
            "output_dir": str(tmp_path / "out"),
        }
    )
    result = engine.run(plan, Reporter())
    assert result["scenario"] == "tickets"
    assert result["tasks"] == ["app", "web"]


@pytest.fixture
def strategy_file(tmp_path: Path) -> Path:
    path = tmp_path / "mas.py"
    path.write_text(block("strategy example"))
    return path


def test_strategy_example_runs_alone_and_stacked(strategy_file: Path, tmp_path: Path) -> None:
    for expression in (f"{strategy_file}(strength=3.0)", f"replay+{strategy_file}"):
        plan = make_plan({"scenario": "toy", "strategy": expression, "output_dir": str(tmp_path / "out"), **SMALL})
        result = engine.run(plan, Reporter())
        assert result["cost"]["stored_bytes"] >= 2 * 4 * result["cost"]["trainable_parameters"]


def test_strategy_example_has_the_gradient_of_its_formula(strategy_file: Path, tmp_path: Path) -> None:
    plan = make_plan({"scenario": "toy", "strategy": str(strategy_file), "output_dir": str(tmp_path), **SMALL})
    prepared = prepare(plan, Clock())
    learner, (_, strategy) = prepared.learner, plan.strategy.members[0]
    learner.tasks_seen = 1
    strategy.after_task(learner, prepared.tasks[0])
    importance, anchor = strategy.importance, strategy.anchor  # type: ignore[attr-defined]
    parameters = dict(learner.named_parameters())
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.01)
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    penalty = sum((importance[n] * (p - anchor[n]).square()).sum() for n, p in parameters.items())
    expected = torch.autograd.grad(penalty, list(parameters.values()))
    strategy.before_step(learner)
    assert sum(float(g.abs().sum()) for g in expected) > 0
    for parameter, gradient in zip(parameters.values(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient)


def test_commands_in_the_readme_exist() -> None:
    from clbench.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    used = set(re.findall(r"python -m clbench (\w+)", README))
    assert used <= known, used - known
