"""Runs as data frames: every value worked by hand, from folders as they lie on a disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clbench import load_runs
from clbench.errors import InputError
from clbench.report import Runs
from clbench.results import COSTS, METRICS, RunFolder, compute_metrics, forgetting_matrix

IDENTITY = ["scenario", "setting", "strategy", "model", "seed"]


def write_run(results: Path, strategy: str, seed: int, last: float, seconds: float = 10.0) -> Path:
    """Two tasks; ends with accuracy ``last`` on the first: average accuracy (last + .9) / 2, forgetting .8 - last."""
    matrix: list[list[float | None]] = [[None, 0.2], [0.8, 0.3], [last, 0.9]]
    folder = RunFolder.locate(results, "toy", strategy, "tiny", seed, "00000000")
    same = {"scenario": "toy", "setting": "task", "strategy": strategy, "model": "tiny", "seed": seed}
    folder.write_config({**same, "epochs": 2, "device": "cpu"})
    columns: dict[str, list[Any]] = {
        "after_task": [2, 2],
        "task": ["first", "second"],
        "index": [0, 4],
        "label": ["a", "b"],
        "prediction": ["a", "a"],
        "confidence": [0.75, 0.5],
    }
    sha256 = folder.write_predictions(columns)
    folder.write_result(
        {
            **{"schema_version": 1, "status": "complete", **same, "tasks": ["first", "second"], "limited": False},
            "accuracy_matrix": matrix,
            "forgetting_matrix": forgetting_matrix(matrix),
            "metrics": compute_metrics(matrix),
            "cost": {**dict.fromkeys(COSTS), "wall_seconds": seconds, "stored_bytes": 64},
            "predictions_sha256": sha256,
        }
    )
    return folder.path


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """naive with seeds 0 and 1 (last .5 and .7), ewc with seed 0 (last .8, half the time)."""
    for strategy, seed, last, seconds in (("naive", 0, 0.5, 10.0), ("naive", 1, 0.7, 10.0), ("ewc", 0, 0.8, 15.0)):
        write_run(tmp_path / "results", strategy, seed, last, seconds)
    return load_runs(tmp_path / "results")


def test_a_row_a_run(runs: Runs) -> None:
    frame: Any = runs.frame().set_index(["strategy", "seed"])
    assert list(frame.index) == [("ewc", 0), ("naive", 0), ("naive", 1)]
    assert frame.average_accuracy.tolist() == pytest.approx([0.85, 0.7, 0.8])
    assert frame.learning_accuracy.tolist() == pytest.approx([0.85] * 3)
    assert frame.forgetting.tolist() == pytest.approx([0.0, 0.3, 0.1])
    assert frame.forward_transfer.tolist() == pytest.approx([0.1] * 3)
    assert frame.wall_seconds.tolist() == [15.0, 10.0, 10.0]
    assert frame.train_seconds.isna().all()
    assert frame.loc[("naive", 1), "folder"].endswith("toy/naive/tiny-s1-00000000")
    assert runs.frame().columns.tolist() == [*IDENTITY, "limited", "hardware", *METRICS, *COSTS, "folder"]
    assert set(runs.frame().hardware) == {"cpu"}


def test_a_row_a_measured_cell(runs: Runs) -> None:
    cells: Any = runs.cells()
    assert cells.columns.tolist() == [*IDENTITY, "after_task", "task", "accuracy"]
    one = cells[(cells.strategy == "naive") & (cells.seed == 1)]
    assert one[["after_task", "task", "accuracy"]].to_numpy().tolist() == [
        [0, "second", 0.2],  # the first task was not measured before training
        [1, "first", 0.8],
        [1, "second", 0.3],
        [2, "first", 0.7],
        [2, "second", 0.9],
    ]
    # The metrics follow from it: the mean of the last rows, per run.
    last = cells[cells.after_task == 2].groupby(["strategy", "seed"]).accuracy.mean()
    assert last.tolist() == pytest.approx(runs.frame().average_accuracy.tolist())


def test_a_row_a_prediction(runs: Runs) -> None:
    frame: Any = runs.predictions()
    columns = ["after_task", "task", "index", "label", "prediction", "confidence"]
    assert frame.columns.tolist() == [*IDENTITY, *columns]
    assert len(frame) == 6
    assert frame[columns].iloc[1].tolist() == [2, "second", 4, "b", "a", 0.5]
    assert frame.strategy.tolist() == ["ewc"] * 2 + ["naive"] * 4


def test_a_run_without_predictions_has_none(runs: Runs) -> None:
    path = runs[0].folder
    result = json.loads((path / "result.json").read_text())
    del result["predictions_sha256"]
    (path / "result.json").write_text(json.dumps(result))
    (path / "predictions.parquet").unlink()
    left = load_runs(path.parents[2])
    assert len(left) == 3
    assert set(left.predictions().strategy) == {"naive"}
    assert left[:1].predictions().columns.tolist() == runs.predictions().columns.tolist()


def test_compared_rows_have_mean_deviation_and_count(runs: Runs) -> None:
    frame: Any = runs.compare(["average_accuracy", "overhead"], sort="average_accuracy")
    assert frame.strategy.tolist() == ["ewc", "naive"]
    assert frame.seeds.tolist() == [1, 2]
    assert frame.average_accuracy.tolist() == pytest.approx([0.85, 0.75])
    # Of .7 and .8: (.05² + .05²) / 1, the root of it.
    assert pd.isna(frame.average_accuracy_std[0])
    assert frame.average_accuracy_std[1] == pytest.approx(0.005**0.5)
    assert frame.overhead.tolist() == pytest.approx([1.5, 1.0])
    assert frame.overhead_count.tolist() == [1, 2]
    assert any("seeds differ" in note for note in frame.attrs["notes"])


def test_runs_are_a_sequence_that_prints_its_comparison(runs: Runs) -> None:
    assert [run.result["strategy"] for run in runs] == ["ewc", "naive", "naive"]
    assert isinstance(runs[1:], Runs)
    assert [run.result["seed"] for run in runs[1:]] == [0, 1]
    assert "toy, task setting, tiny" in repr(runs)
    assert repr(Runs([])) == "no finished run"
    assert len(Runs([]).frame()) == len(Runs([]).cells()) == len(Runs([]).predictions()) == 0


def test_what_is_no_finished_run_is_named(tmp_path: Path, runs: Runs) -> None:
    (runs[0].folder / "result.json").write_text("{")
    left = load_runs(tmp_path / "results")
    assert len(left) == 2
    (line,) = left.skipped
    assert str(runs[0].folder) in line
    with pytest.raises(InputError, match=r"no finished run in .*; skipped: .*is not JSON"):
        load_runs(runs[0].folder)
    with pytest.raises(InputError, match="no such file or folder"):
        load_runs(tmp_path / "gone")


def test_without_a_path_the_folder_results_is_read(runs: Runs, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(load_runs()) == len(runs)
