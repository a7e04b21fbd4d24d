"""Runs of tasks that share labels of which each has only some, and the notes on what was left out of the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clbench.commands.progress import TerminalReporter
from clbench.data import LabelSpace
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.plugins.plan import make_plan
from tests.conftest import tiny_bert
from tests.helpers import slow, strategy as strategy_of

SCENARIO = '''
"""Tickets of three products; what billing is, all of them know."""

import random

from clbench import Scenario, Task
from clbench.toolkit import task_from_rows

WORDS = {
    "billing": "bill invoice refund charge price euro",
    "signal": "antenna coverage bars network roaming call",
    "battery": "charger drains percent power overnight dead",
    "login": "password account locked mail reset code",
}
PRODUCTS = {"phone": ("billing", "signal"), "watch": ("battery", "billing"), "mail": ("login", "billing")}


class Products(Scenario):
    settings = ("domain", "task")
    defaults = {"model": "tiny", "epochs": 4, "lr": 2e-3, "head_lr": 2e-2, "batch_size": 8, "max_length": 12}

    def __init__(self, *, seed: int = 0, setting: str = "domain") -> None:
        super().__init__(seed=seed, setting=setting)

    def tasks(self) -> list[Task]:
        return [self.product(name) for name in PRODUCTS]

    def product(self, name: str) -> Task:
        draw = random.Random(f"{self.seed}/{name}")
        rows = [
            (" ".join([name, str(n), *draw.choices(WORDS[label].split(), k=4)]), label)
            for label in PRODUCTS[name]
            for n in range(30)
        ]
        return task_from_rows(name, [*rows, *rows[:5]], self.seed, shared_labels=True)
'''
ALLOWED = {"phone": {"billing", "signal"}, "watch": {"battery", "billing"}, "mail": {"login", "billing"}}
SEEN = [{"billing", "signal"}, {"billing", "signal"}, {"billing", "signal", "battery"}]
SEEN.append(SEEN[-1] | {"login"})


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    (folder / "products.py").write_text(SCENARIO)
    return folder


def run(folder: Path, strategy: str, setting: str, report: Reporter | None = None, **more: Any) -> tuple[Any, Any]:
    options = {"scenario": str(folder / "products.py"), "strategy": strategy, "setting": setting, "device": "cpu"}
    plan = make_plan({**options, "output_dir": str(folder / "out"), **more})
    result = engine.run(plan, report or Reporter())
    return result, engine.run_folder(plan.config)


EVERYWHERE = (
    "naive",
    "replay",
    "replay(sampling='class_balanced')",
    "er_ace",
    "der",
    "ncm",
    "slda",
    "ewc",
    "l2_anchor",
)
# The first of these learn the last task as well as if there were nothing else.
MODULES = ("distillation", "lora_incremental", "lora_merge", "joint")


@pytest.mark.parametrize("strategy", [*EVERYWHERE[:2], *map(slow, EVERYWHERE[2:]), MODULES[0], *map(slow, MODULES[1:])])
def test_in_the_domain_setting_answers_are_labels_seen_so_far(strategy: str, products: Path) -> None:
    result, folder = run(products, strategy, "domain")
    first = [True, False, False]  # a task is measured once all its labels have been seen
    measured = [first, first, [True, True, False], [True] * 3]
    if strategy == "joint":  # learns in the last step only
        measured[1] = measured[2] = [False] * 3
    assert [[cell is not None for cell in row] for row in result["accuracy_matrix"]] == measured
    columns = folder.read_predictions()
    for after, prediction in zip(columns["after_task"], columns["prediction"], strict=True):
        assert prediction in SEEN[after]
    assert result["accuracy_matrix"][-1][-1] > (0.8 if strategy in EVERYWHERE else 0.4)


@pytest.mark.parametrize(("setting", "local"), [("domain", False), ("task", True)])
@pytest.mark.parametrize("name", ["lora_incremental", "lora_merge", "o_lora"])
def test_modules_score_among_all_labels_seen_where_the_task_is_not_told(name: str, setting: str, local: bool) -> None:
    learner = Learner(tiny_bert(3), LabelSpace(setting, ("billing", "signal", "battery"), ((0, 1), (2, 0))))
    built = strategy_of(name, learner)
    assert learner.local_labels is local
    if name == "lora_merge":  # rows that tasks share start afresh with each task and are merged
        assert list(built.head) == ["base_model.model.classifier.weight", "base_model.model.classifier.bias"]


@pytest.mark.parametrize("strategy", ["naive", "replay", "er_ace", "ncm", "ewc", "lora_merge", "independent"])
def test_in_the_task_setting_answers_are_the_tasks_own_labels(strategy: str, products: Path) -> None:
    result, folder = run(products, strategy, "task")
    assert all(cell is not None for row in result["accuracy_matrix"] for cell in row)
    columns = folder.read_predictions()
    for task, prediction in zip(columns["task"], columns["prediction"], strict=True):
        assert prediction in ALLOWED[task]
    assert result["accuracy_matrix"][-1][-1] > (0.6 if strategy == "lora_merge" else 0.8)  # merged weights know less
    if strategy == "ncm":  # what billing is it knows from other tasks: a task that is still to come is answered so
        rows = zip(*(columns[key] for key in ("after_task", "task", "label", "prediction")), strict=True)
        answers = [prediction for *where, prediction in rows if where == [2, "mail", "billing"]]
        assert set(answers) == {"billing"}


OWN_ROWS = ("lora_per_task", "adapter", "ia3", "prompt_tuning", "prefix_tuning", "p_tuning_v2", "progressive_prompts")


@pytest.mark.parametrize("strategy", [*OWN_ROWS, "seq_star"])
def test_strategies_with_rows_for_each_task_are_refused(strategy: str, products: Path) -> None:
    with pytest.raises(
        InputError, match=f"strategy '{strategy}' needs output rows of each task's own, but these tasks"
    ):
        run(products, strategy, "task")
    with pytest.raises(InputError, match=f"strategy '{strategy}' does not support setting 'domain'"):
        run(products, strategy, "domain")


def test_strategies_that_tell_the_task_by_the_label_are_refused(products: Path) -> None:
    pytest.importorskip("avalanche")
    with pytest.raises(InputError, match=r"tell the task by the label, .* in setting 'task'; allowed: domain"):
        run(products, "avalanche.Naive", "task")
    result, _ = run(products, "avalanche.Naive", "domain", epochs=1)
    assert result["accuracy_matrix"][-1][-1] is not None


def test_shared_adapters_are_no_rows_of_a_task(products: Path) -> None:
    run(products, "adapter(shared=True)", "task", epochs=1)


def test_what_was_left_out_is_told_once_and_recorded(products: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = TerminalReporter(-1)
    note = "65 rows, 5 left out: 5 repeated"
    for seed in (7, 8):
        _, folder = run(products, "ncm", "domain", reporter, seed=seed)
        environment = json.loads((folder.path / "environment.json").read_text())
        assert environment["data_notes"] == {name: [note] for name in ("phone", "watch", "mail")}
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert told == [f"note: task '{name}': {note}" for name in ("phone", "watch", "mail")]
