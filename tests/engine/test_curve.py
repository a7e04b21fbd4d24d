"""Measures inside tasks: they change no number, go on bit for bit, and are of the examples that are said."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clbench.cli import main
from clbench.data import Batch
from clbench.engine import curve, engine
from clbench.engine.interrupts import Interrupted
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.plugins import make_plan
from clbench.report import compare
from clbench.report.stability import stability_figure
from clbench.results import CURVE_METRICS, Run, find_run, read_curve
from clbench.rng import generator
from clbench.strategy import Stack, Strategy
from tests.helpers import RunToy, weights


def finished(folder: Any) -> Run:
    return find_run([folder.path])


# Dropout draws random numbers; the others answer with what they load or switch for it.
@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("naive", {}),
        ("lora_per_task", {}),
        ("lora_per_task", {"setting": "class"}),
        ("independent", {}),
        ("prompt_tuning", {}),
        ("adapter", {}),
        ("alarm", {}),
    ],
)
def test_measuring_changes_no_number(run_toy: RunToy, strategy: str, options: dict[str, Any]) -> None:
    without, folder = run_toy(strategy, **options)
    measured, other = run_toy(strategy, evaluate_every=1, **options)
    for key in ("accuracy_matrix", "macro_f1_matrix", "metrics", "forgetting_warnings"):
        assert measured[key] == without[key]
    assert other.read_predictions() == folder.read_predictions()
    stages = read_curve(finished(other))
    assert [stage.learning for stage in stages] == without["tasks"]
    assert [stage.steps for stage in stages] == [
        (1, 2, 3, 4),
        (5, 6, 7, 8),
        (9, 10, 11, 12),
    ]  # 30 texts in batches of 8
    assert [list(stage.measures) for stage in stages] == [without["tasks"][: number + 1] for number in range(3)]
    for row, stage in enumerate(stages, start=1):  # fewer than MOST_EXAMPLES: the end is the matrix's row
        ends = [stage.measures[task][-1] for task in stage.measures]
        assert ends == pytest.approx(without["accuracy_matrix"][row][:row])


class _Meddler(Strategy):
    """Answers in the model's place, and changes what it can."""

    def __init__(self) -> None:
        self.active = "this task"

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """Weights, modes, what learns, its own attributes and random streams."""
        for module in learner.model.modules():
            module.marked = True  # type: ignore[assignment]
        for parameter in learner.model.parameters():
            parameter.requires_grad_(False)
            parameter.mul_(0.5 + torch.rand(()))
        self.active, self.more = "another", learner.model.eval()
        return None


def test_whatever_an_answer_does_is_undone(make_learner: Callable[..., Learner]) -> None:
    learner, member = make_learner(), _Meddler()
    strategy = Stack([("meddler", member)])
    learner.model.train()
    learner.output_layer().bias.requires_grad_(False)
    learner.model.get_submodule("bert.encoder").eval()
    modes = [module.training for module in learner.model.modules()]
    learns = [parameter.requires_grad for parameter in learner.model.parameters()]
    before, stream = weights(learner), torch.get_rng_state()
    with curve.unchanged(learner, strategy), torch.no_grad():
        strategy.predict(learner, {}, None)
        assert member.active == "another"
    assert vars(member) == {"active": "this task"}
    assert [module.training for module in learner.model.modules()] == modes
    assert not any(hasattr(module, "marked") for module in learner.model.modules())
    assert [parameter.requires_grad for parameter in learner.model.parameters()] == learns
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(value, weights(learner)[name]) for name, value in before.items())


class _Stopper(Reporter):
    """Sends SIGINT at a step of the second task."""

    def __init__(self) -> None:
        self.tasks = 0

    def start_task(self, label: str, steps: int, steps_done: int = 0) -> None:
        self.tasks += 1

    def step(self, step: int, texts: int, loss: float) -> None:
        if self.tasks == 2 and step == 3:
            signal.raise_signal(signal.SIGINT)


def test_a_run_that_goes_on_inside_a_task_has_the_same_curve(
    run_toy: RunToy, toy: dict[str, Any], tmp_path: Path
) -> None:
    _, whole = run_toy("replay", evaluate_every=2)
    options = {**toy, "strategy": "replay", "evaluate_every": 2, "checkpoint_every": 3, "output_dir": str(tmp_path)}
    with pytest.raises(Interrupted):
        engine.run(make_plan(options), _Stopper())
    folder = engine.run_folder(make_plan(options).config)
    assert folder.read_result() is None
    engine.run(make_plan(options), Reporter())
    assert (folder.path / "curve.parquet").read_bytes() == (whole.path / "curve.parquet").read_bytes()
    assert folder.read_predictions() == whole.read_predictions()


def test_at_most_so_many_examples_are_measured(
    run_toy: RunToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four of the 15 test examples of each task, which the seed draws; the end is worked out from the predictions."""
    monkeypatch.setattr(curve, "MOST_EXAMPLES", 4)
    result, folder = run_toy("naive", output=tmp_path, evaluate_every=2)
    answers = folder.read_predictions()
    stages = read_curve(finished(folder))
    for after, stage in enumerate(stages, start=1):
        for task, measures in stage.measures.items():
            drawn = set(torch.randperm(15, generator=generator(0, "curve", task))[:4].tolist())
            columns = (answers[name] for name in ("after_task", "task", "index", "label", "prediction"))
            rows = [row for row in zip(*columns, strict=True) if row[:2] == (after, task) and row[2] in drawn]
            assert len(rows) == 4
            assert measures[-1] == sum(label == answer for *_, label, answer in rows) / 4
            assert all(4 * measure == int(4 * measure) for measure in measures)
    assert result["tasks"] == [stage.learning for stage in stages]


def test_what_is_told_and_compared(run_toy: RunToy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, measured = run_toy("naive", evaluate_every=1)
    _, without = run_toy("naive")
    assert not (without.path / "curve.parquet").exists()
    assert read_curve(finished(without)) == []
    result = measured.read_result()
    assert result is not None
    assert result["curve_examples"] == curve.MOST_EXAMPLES
    (table,) = compare([finished(measured), finished(without)], CURVE_METRICS).tables
    told = {row.runs[0].folder: [row.cells[name].mean for name in CURVE_METRICS] for row in table.rows}
    assert None not in told[measured.path]
    assert told[without.path] == [None] * 4
    assert main(["plot", "stability", str(measured.path), "-o", str(tmp_path / "s.png")]) == 0
    assert (tmp_path / "s.png").stat().st_size > 1000
    assert main(["plot", "stability", str(without.path), "-o", str(tmp_path / "t.png")]) == 2
    assert "clbench run --evaluate-every N" in capsys.readouterr().err
    assert main(["run", "--scenario", "toy", "--strategy", "naive", "--evaluate-every", "0"]) == 2
    assert "evaluate_every = 0 is not allowed" in capsys.readouterr().err


def test_the_plot_shows_each_measure_and_marks_the_switches(run_toy: RunToy) -> None:
    _, folder = run_toy("naive", evaluate_every=1)
    figure = stability_figure([finished(folder)])
    stages = read_curve(finished(folder))
    axes: list[Any] = figure.axes
    for task, axis in zip(("kitchen", "station", "market"), axes, strict=True):
        curve_line, *switches = axis.lines
        pairs = [pair for stage in stages for pair in zip(stage.steps, stage.measures.get(task, ()), strict=False)]
        assert list(zip(*curve_line.get_data(), strict=True)) == pairs
        assert [line.get_xdata()[0] for line in switches] == [4, 8, 12]


def test_a_changed_curve_is_told(run_toy: RunToy, tmp_path: Path) -> None:
    _, folder = run_toy("naive", output=tmp_path, evaluate_every=3)
    run = finished(folder)
    path = folder.path / "curve.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"curve\.parquet: was changed"):
        read_curve(run)
    path.unlink()
    with pytest.raises(InputError, match=r"curve\.parquet: cannot be read"):
        compare([run], ["stability_gap"])
    assert json.loads((folder.path / "config.json").read_text())["evaluate_every"] == 3
