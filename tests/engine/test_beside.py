"""Runs with --ability and --probe: what is stored, resumed bit for bit, and what is refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from clbench.commands.progress import TerminalReporter
from clbench.config import identity, make_config
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.plugins.plan import Plan, make_plan
from clbench.results.metrics import compute_metrics
from clbench.results.schema import validate_result
from clbench.toolkit import AbilityTest, next_tokens, token_loss
from clbench.toolkit.frozen_features import collect_features
from tests.engine.test_engine import Killed, Probe, plan_for, science

BOTH: dict[str, Any] = {"ability": True, "probe": True}


@pytest.fixture(autouse=True)
def _own_ability(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that need no package: the loss on two lines for a language model, else a sum over features."""

    def make(_: Plan, learner: Learner, example: Any) -> AbilityTest:
        if learner.kind.ability == "writing":
            texts = ["the kitchen has a red door", "who sings at the market"]
            examples = next_tokens(texts, learner.tokenizer, 12)
            return AbilityTest("loss per token", "nats", False, partial(token_loss, examples=examples))
        examples = [{**example, "label": 0, "task_id": 0}]

        def measure(learner: Learner) -> float:
            return float(collect_features(learner, examples, "mean")[0].abs().sum())

        return AbilityTest("size of features", "units", True, measure)

    monkeypatch.setattr("clbench.engine.preparation.ability_test", make)


def run(strategy: str, output: Path, **options: Any) -> dict[str, Any]:
    return engine.run(plan_for(strategy, output, **options), Reporter())


def test_both_stand_in_the_result_and_nothing_else_changes(toy: dict[str, Any], tmp_path: Path) -> None:
    plain, both = run("naive", tmp_path, **toy), run("naive", tmp_path, **toy, **BOTH)
    added = {"ability", "probe_matrix", "metrics_probe"}
    assert {key for key in both if key not in plain} == added
    unlike = {"cost", "config_sha256", *added}
    assert {k: v for k, v in both.items() if k not in unlike} == {k: v for k, v in plain.items() if k not in unlike}
    assert {k: both["ability"][k] for k in ("name", "unit", "higher_is_better")} == {
        "name": "size of features", "unit": "units", "higher_is_better": True,
    }  # fmt: skip
    assert len(set(both["ability"]["values"])) == 4
    assert [len(row) for row in both["probe_matrix"]] == [3, 3, 3, 3]
    assert both["metrics_probe"] == compute_metrics(both["probe_matrix"])
    folder = engine.run_folder(plan_for("naive", tmp_path, **toy, **BOTH).config).path
    stored = json.loads((folder / "result.json").read_text("utf-8"))
    assert validate_result(stored, "result.json")["ability"] == both["ability"]


def test_a_stopped_run_measures_as_if_it_had_not_been(toy: dict[str, Any], tmp_path: Path) -> None:
    strategy = "lora_per_task(learning_rate=0.01)"
    expected = run(strategy, tmp_path / "whole", **toy, **BOTH)
    with pytest.raises(Killed):
        engine.run(plan_for(strategy, tmp_path, Probe("before_step market 2"), **toy, **BOTH), Reporter())
    torch.manual_seed(99)
    assert science(run(strategy, tmp_path, **toy, **BOTH)) == science(expected)
    assert len(set(expected["ability"]["values"])) == 1
    columns = list(zip(*expected["probe_matrix"], strict=True))
    assert all(len(set(column[task + 1 :])) == 1 for task, column in enumerate(columns))


def test_rows_that_train_nothing_and_tasks_to_come_are_not_measured(toy: dict[str, Any], tmp_path: Path) -> None:
    joint = run("joint", tmp_path, **toy, **BOTH)
    assert [value is None for value in joint["ability"]["values"]] == [False, True, True, False]
    assert joint["probe_matrix"][1] == [None] * 3
    seen = run("naive", tmp_path, evaluate="seen", **toy, **BOTH)
    assert [[cell is None for cell in row] for row in seen["probe_matrix"]] == [
        [True, True, True], [False, True, True], [False, False, True], [False, False, False],
    ]  # fmt: skip


def test_a_language_model_is_asked_for_prose_and_told_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"scenario": "toy_generation", "scenario_args": {"train": 6, "dev": 3, "test": 3}, "epochs": 1}
    values = {}
    for strategy in ("lora_per_task", "lora_sequential"):
        plan = plan_for(strategy, tmp_path, **options, ability=True)
        values[strategy] = engine.run(plan, TerminalReporter(0))["ability"]["values"]
    assert values["lora_per_task"] == values["lora_sequential"][:1] * 4  # exactly
    assert len(set(values["lora_sequential"])) == 4
    told = capsys.readouterr().err
    first = values["lora_per_task"][0]
    assert f"loss per token: {first:.3f} nats (perplexity {2.718281828**first:.2f})" in told


def test_the_output_layer_forgets_more_than_the_features(tmp_path: Path) -> None:
    """Where no task is given naive answers old tasks with the newest labels, and its features still tell them apart."""
    sizes = {"train": 60, "dev": 9, "test": 30}
    result = run("naive", tmp_path, setting="class", probe=True, scenario_args=sizes)
    assert result["metrics"]["forgetting"] > 0.7
    assert result["metrics_probe"]["forgetting"] < 0.5 * result["metrics"]["forgetting"]


def test_they_are_part_of_what_a_run_is_only_where_they_are_asked_for() -> None:
    base = {"scenario": "toy", "strategy": "naive"}
    stored = make_config(base).model_dump()
    assert identity({key: value for key, value in stored.items() if key not in BOTH}) == identity(stored)
    hashes = {make_config({**base, **more}).sha256 for more in ({}, {"ability": True}, {"probe": True}, BOTH)}
    assert len(hashes) == 4


def test_what_has_no_meaning_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        make_plan({"scenario": "toy_generation", "strategy": "naive", "probe": True})
    assert str(caught.value) == "--probe fits a classifier of labels, and generation tasks have none; leave it away"
    own = tmp_path / "mine.py"
    own.write_text(
        "from clbench import Kind, Scenario\n\n\nclass Mine(Kind):\n    name = 'mine'\n\n\n"
        "class Own(Scenario):\n    kind = Mine()\n",
        encoding="utf-8",
    )
    with pytest.raises(InputError) as caught:
        make_plan({"scenario": str(own), "strategy": "naive", "ability": True})
    assert "--ability: nothing is known that models of mine tasks could do before" in str(caught.value)
