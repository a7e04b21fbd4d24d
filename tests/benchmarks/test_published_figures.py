"""Published protocols: the band worked by hand, every file read and planned, and a miss shown on either side."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.published import __main__ as command, page, runs
from benchmarks.published.band import compare, half_width, verdict
from benchmarks.published.protocols import FOLDER, Figure, choose, read_figures
from clbench.errors import InputError
from clbench.plugins import Made
from clbench.results.runs import Run
from clbench.sources import images
from tests.helpers import MakeLearner, strategy, task_data
from tests.scenarios.packages import need
from tests.strategies.test_strategies import Fixed

FIGURES = {figure.name: figure for figure in read_figures()}
SD, SEM = FIGURES["hsu2018-naive-task"], FIGURES["vandeven2018-none-task"]
TOLERANCE = FIGURES["avalanche-gdumb-class"]


def line_of(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert command.main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    return output.err


def few_images(split: str) -> tuple[np.ndarray, np.ndarray]:
    """MNIST's shape, eight images of a digit, no two alike."""
    pixels = np.random.default_rng(len(split)).integers(0, 256, (80, 1, 28, 28), dtype=np.uint8)
    return pixels, np.repeat(np.arange(10), 8)


# The band


def test_the_band_of_a_standard_deviation_by_hand() -> None:
    assert [SD.published, SD.deviation, SD.n] == pytest.approx([0.9346, 0.0201, 10])
    # 3 · .0201 · √(1/10 + 1/10) + .005, and √.2 = .4472136
    assert half_width(SD, 10) == pytest.approx(0.0603 * 0.4472136 + 0.005)
    row = compare(SD, [0.93] * 10)
    assert (row["low"], row["high"]) == (pytest.approx(0.9026330), pytest.approx(0.9665670))
    assert set(row) >= {"name", "published", "spread", "n", "ours", "ours_spread", "ours_n", "low", "high", "inside"}


def test_the_band_of_a_standard_error_by_hand() -> None:
    assert SEM.kind == "sem"
    assert [SEM.published, SEM.spread, SEM.n] == pytest.approx([0.8515, 0.01, 20])
    assert SEM.deviation == pytest.approx(0.01 * 4.4721360)  # the root of 20
    # 3 · .0447214 · √(1/20 + 1/5) + .005 = .1341641 · .5 + .005
    row = compare(SEM, [0.85, 0.86, 0.84, 0.83, 0.87])
    assert row["high"] - row["published"] == pytest.approx(0.0720820)
    assert (row["ours"], row["ours_spread"]) == (pytest.approx(0.85), pytest.approx(0.00025**0.5))


def test_a_tolerance_is_the_band_on_both_sides() -> None:
    assert (TOLERANCE.published, TOLERANCE.spread, TOLERANCE.kind) == (0.97, 0.03, "tolerance")
    for ours, said in {0.9351: "inside", 0.9349: "**below**", 1.0: "inside"}.items():
        row = compare(TOLERANCE, [ours])
        assert (row["low"], row["high"]) == (pytest.approx(0.935), pytest.approx(1.005))  # .03 and the allowance
        assert verdict(row) == said
    assert half_width(TOLERANCE, 5) == half_width(TOLERANCE, 1)  # runs of ours make it no narrower


@pytest.mark.parametrize(("ours", "said"), [(0.93, "inside"), (0.80, "**below**"), (0.99, "**above**")])
def test_a_miss_on_either_side_is_one(ours: float, said: str, tmp_path: Path) -> None:
    row = compare(SD, [ours] * 10)
    assert (verdict(row), row["inside"]) == (said, said == "inside")
    assert compare(SD, [ours])["ours_spread"] is None  # of one run
    text = page.write([SD, SEM], {SD.name: row}, ["0123456789abcdef"], tmp_path)
    (line,) = [line for line in text.splitlines() if line.startswith(f"| `{SD.name}`")]
    assert line.endswith(f"| {100 * ours:.2f} ± 0.00 | 10 | 90.26 to 96.66 | {said} |")
    assert f"1 of 2 figures were run: {int(said == 'inside')} inside, {int(said != 'inside')} missed." in text
    assert f"Not yet run: `{SEM.name}`." in text
    assert (f"- `{SD.name}`: not yet explained." in text) == (said != "inside")
    told = page.write([replace(SD, miss="Their Adam.")], {SD.name: row}, [], tmp_path)
    assert (f"- `{SD.name}`: Their Adam." in told) == (said != "inside")
    page.write([SD, SEM], {SD.name: row}, ["0123456789abcdef"], tmp_path)
    data = json.loads((tmp_path / "published-figures.json").read_text("utf-8"))
    assert data["figures"] == [row]
    assert data["not_run"] == [SEM.name]


# The protocols


def test_every_protocol_makes_a_plan_with_its_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(images, "mnist", few_images)
    made: Made = {}
    monkeypatch.chdir(FOLDER.parent.parent)  # where the rows' own strategy file is named from
    for name, figure in FIGURES.items():
        if figure.options["strategy"].startswith("avalanche."):
            pytest.importorskip("avalanche")
        config = runs.plan(figure, 0, tmp_path, made).config
        strategy_name = runs.as_recorded(figure.options["strategy"])
        assert (config.setting, config.seed, config.strategy) == (figure.setting, 0, strategy_name)
        assert (config.schedule, config.weight_decay, config.max_grad_norm) == ("constant", 0.0, float("inf"))
        assert config.optimizer_state == ("fresh" if name.startswith("avalanche") else "carried")
        assert config.output_dir == str(tmp_path / name)
    assert len(FIGURES) == 60
    assert FIGURES["hsu2018-gem-class"].options["lr"] == 0.01  # a row's setting goes before its paper's


def test_their_coefficients_without_a_half_are_half_of_ours() -> None:
    strategies = {name: figure.options["strategy"] for name, figure in FIGURES.items()}
    for row, coefficients in {"l2": (0.01, 0.5, 100), "ewc": (100, 100, 600), "online_ewc": (400, 700, 100)}.items():
        for setting, coefficient in zip(("task", "domain", "class"), coefficients, strict=True):
            argument = f"{'strength' if row == 'l2' else 'ewc_lambda'}={float(2 * coefficient)}"
            assert argument in strategies[f"hsu2018-{row}-{setting}"]


def test_the_strategy_of_a_file_is_found_again_by_its_stem() -> None:
    figure = FIGURES["vandeven2019-ewc_predicted-task"]
    assert runs.as_recorded(figure.options["strategy"]) == "ewc_predicted(ewc_lambda=10000000.0)"
    assert runs.as_recorded("avalanche.GDumb(mem_size=4400)") == "avalanche.GDumb(mem_size=4400)"


def test_the_fisher_of_predictions_by_hand(make_learner: MakeLearner) -> None:
    """F = mean (p − onehot(argmax p))² of a model that gives its weights as logits, whatever the true labels are."""
    learner = make_learner("class", tasks=2, model=Fixed([0.0, 1.0, 5.0, 5.0]))
    ewc = strategy(str(FOLDER / "ewc_predicted.py"), learner)
    learner.tasks_seen = 1  # the last two columns are no candidates
    examples = [{"pixel_values": torch.zeros(1, 1, 1), "label": label, "task_id": 0} for label in (0, 1, 0)]
    ewc.after_task(learner, task_data(learner, 0, examples))
    first = 1 / (1 + math.exp(1))  # the probability of column 0; column 1 is predicted
    expected = [first**2, first**2, 0.0, 0.0]
    assert ewc.importance["classifier"].tolist() == pytest.approx(expected, rel=1e-5)


def test_gem_that_rehearses_by_hand(make_learner: MakeLearner) -> None:
    """Shares of 8 // 2 images after one task and 8 // 4 after two; half of a batch of five gives way to two of them."""
    learner = make_learner("class", tasks=2, model=Fixed([0.0, 0.0, 0.0, 0.0]))
    gem = strategy(str(FOLDER / "gem_rehearsing.py"), learner, memory_size=8)
    images = [
        {"pixel_values": torch.full((1, 1, 1), float(i)), "label": i // 20, "task_id": i // 20} for i in range(40)
    ]
    new = learner.collate(images[20:25])
    learner.steps, learner.step = 10, 3
    assert gem.train_batch(new) is new
    assert not gem.stop(learner, task_data(learner, 0))
    learner.step = 4  # the fifth of ten steps is done
    assert gem.stop(learner, task_data(learner, 0))
    gem.after_task(learner, task_data(learner, 0, images[:20]))
    assert [len(share) for share in gem.shares] == [4, 4]
    mixed = gem.train_batch(new)
    assert mixed["remembered"].tolist() == [False] * 3 + [True] * 2
    assert mixed["pixel_values"][:3].flatten().tolist() == [20.0, 21.0, 22.0]
    assert mixed["task_ids"].tolist() == [1, 1, 1, 0, 0]
    assert [len(batch["labels"]) for batch in gem.memory_batches] == [4, 4]
    assert not gem.stop(learner, task_data(learner, 1))
    gem.after_task(learner, task_data(learner, 1, images[20:]))
    assert [[example["task_id"] for example in share] for share in gem.shares] == [[0, 0], [0, 0], [1, 1], [1, 1]]


def test_names_stand_for_figures_rows_and_papers(capsys: pytest.CaptureFixture[str]) -> None:
    figures = list(FIGURES.values())
    assert choose(figures, []) == figures
    assert [f.name for f in choose(figures, ["hsu2018-si-task", "hsu2018-si"])] == [
        f"hsu2018-si-{setting}" for setting in ("task", "domain", "class")
    ]
    assert {f.n for f in choose(figures, ["vandeven2018"])} == {20}
    line = line_of(["hsu2018-ewcc"], capsys)
    assert line.startswith("error: unknown published figure 'hsu2018-ewcc'; did you mean 'hsu2018-ewc'? allowed: ")
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("naive.yaml", "row: Adam\ndifers: no\nfigures: {}\n", "'difers'; did you mean 'differs'?"),
        ("naive.yaml", "row: Adam\nfigures: {}\n", "lacks 'differs'"),
        ("naive.yaml", "row: A\ndiffers: b\nfigures: {task: {published: 1, spread: 1}}\n", "names no strategy"),
    ],
)
def test_a_protocol_that_cannot_be_read_is_one_line(file: str, text: str, said: str, tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "hsu2018", tmp_path / "hsu2018")
    (tmp_path / "hsu2018" / file).write_text(text, "utf-8")
    with pytest.raises(InputError) as caught:
        read_figures(tmp_path)
    assert said in str(caught.value)


# Runs


def test_a_protocol_is_run_read_back_and_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small one of our own goes through the engine once; the second time it is read."""
    options = {**SD.options, "scenario": "toy_image", "scenario_args": {}, "model": "mlp(8,1,1)"}
    figure = Figure("small-naive-task", SD.paper, SD.row, "task", 0.5, 0.5, "sd", 10, options)
    monkeypatch.setattr(command, "read_figures", lambda _: [figure])
    arguments = ["--seeds", "2", "--runs", str(tmp_path / "runs"), "--output", str(tmp_path)]
    monkeypatch.setattr(runs, "unclean", lambda _: [])  # this checkout may well have changes
    assert command.main(arguments) == 0
    (row,) = json.loads((tmp_path / "published-figures.json").read_text("utf-8"))["figures"]
    found = runs.finished_runs(figure, tmp_path / "runs")
    assert [run.config["seed"] for run in found] == [0, 1]
    last = [run.result["accuracy_matrix"][-1] for run in found]
    assert row["ours"] == pytest.approx(np.mean(last))
    assert row["ours_n"] == 2

    def not_again(*_: Any) -> None:
        raise AssertionError("it was finished")

    monkeypatch.setattr(runs, "run_one", not_again)
    assert command.main(arguments) == 0
    # Runs of other settings than the protocol's are none of its.
    other = replace(figure, options={**options, "epochs": 3})
    assert runs.finished_runs(other, tmp_path / "runs") == []

    # On another machine the page keeps what that one has no runs of.
    elsewhere = ["--seeds", "0", "--runs", str(tmp_path / "none"), "--output", str(tmp_path)]
    for now, rows in ((figure, [row]), (other, [])):
        monkeypatch.setattr(command, "read_figures", lambda _, now=now: [now])
        assert command.main(elsewhere) == 0
        assert json.loads((tmp_path / "published-figures.json").read_text("utf-8"))["figures"] == rows
    capsys.readouterr()


def test_no_figure_comes_from_code_that_is_in_no_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "environment.json").write_text(json.dumps({"commit": "0" * 40, "dirty": True}), "utf-8")
    result = {"metrics": {"average_accuracy": 0.9}}
    monkeypatch.setattr(runs, "finished_runs", lambda *_: [Run(tmp_path, result, {"seed": 0})])
    assert command.main(["--seeds", "0", "--output", str(tmp_path)]) == 1
    assert "was made with changes that are in no commit" in capsys.readouterr().err
    assert not (tmp_path / "published-figures.json").exists()


@pytest.mark.parametrize("name", ["hsu2018-naive-class", "hsu2018-si-task"])
def test_a_protocol_as_its_paper_ran_it_lands_inside(name: str, tmp_path: Path) -> None:
    """The whole of it, with seed 0.

    What forgets nothing (joint: 97.5) lies far above the first one's band of 18.96 to 20.46, what forgets everything
    (naive: 93.5) below the second one's of 96.52 to 100.60.
    """
    need(("mnist",))
    figure = FIGURES[name]
    runs.run(figure, 1, tmp_path)
    row = compare(figure, runs.accuracies(runs.finished_runs(figure, tmp_path)))
    assert verdict(row) == "inside", row
