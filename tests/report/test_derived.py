"""Metrics that need another run or stored answers, worked out when runs are compared, old ones too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clbench import load_runs
from clbench.cli import main
from clbench.report import compare
from clbench.results import Run
from tests.helpers import ROOT
from tests.report.simulated import write_answers
from tests.report.test_tables import make_run

PUBLISHED = ROOT / "results" / "published" / "wordnet_class"


def intransigence(runs: list[Run]) -> dict[str, float | None]:
    (table,) = compare(runs, ["intransigence"]).tables
    return {row.label: row.cells["intransigence"].mean for row in table.rows}


def joint(seed: int = 0, first: float = 0.9, second: float = 0.7, **changes: Any) -> Run:
    matrix = [[None, None], [None, None], [first, second]]
    return make_run("joint", seed, accuracy_matrix=matrix, **changes)


def test_intransigence_is_against_joint_of_the_same_seed() -> None:
    """All learn to .8 and .9. joint: .9 and .7 with seed 0, so -.05; 1 and .9 with seed 1, so .1."""
    runs = [make_run("ewc", 0), make_run("ewc", 1), joint(), joint(1, 1.0, 0.9)]
    assert intransigence(runs) == {"ewc": pytest.approx(0.025), "joint": None}
    (table,) = compare(runs, ["intransigence"]).tables
    assert "no intransigence without joint of the same seed, or an accuracy unmeasured: joint" in table.notes
    alone = intransigence([make_run("ewc", 0), make_run("ewc", 2), joint()])
    assert alone["ewc"] is None  # of seed 2 there is none


def test_the_joint_run_is_that_with_the_same_settings_and_as_many_examples() -> None:
    other = joint(first=1.0, second=1.0, config={"epochs": 9})
    assert intransigence([make_run("ewc"), joint(), other])["ewc"] == pytest.approx(-0.05)
    assert intransigence([make_run("ewc"), other])["ewc"] == pytest.approx(0.15)  # the only one; a note tells epochs
    limited = joint(config={"limit": 5}, limited=True)
    assert intransigence([make_run("ewc"), limited])["ewc"] is None
    assert intransigence([make_run("ewc"), joint(tasks=["second", "first"])])["ewc"] == pytest.approx(-0.05)


def test_answers_of_old_runs_are_read_when_they_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """Published before these metrics were: naive answers everything with the last of ten tasks' labels."""
    names = ("recency_bias", "expected_calibration_error", "relative_forgetting")
    options = [word for name in names for word in ("--metric", name)]
    run = next((PUBLISHED / "naive").glob("*-s0-*"))
    assert main(["compare", str(run), *options, "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["tables"][0]["rows"]
    told = {name: row["cells"][name]["mean"] for name in names}
    frame = load_runs(run).predictions()
    last = frame[frame.after_task == 10]
    names_last = set(last[last.task == load_runs(run)[0].result["tasks"][-1]].label)
    assert told["recency_bias"] == last.prediction.isin(names_last).mean()
    bins = np.clip(np.ceil(last.confidence * 15), 1, 15)
    gaps = (last.label == last.prediction).astype(float) - last.confidence
    expected = sum(abs(gaps[bins == each].sum()) for each in range(1, 16)) / len(last)
    assert told["expected_calibration_error"] == pytest.approx(expected, abs=1e-6)
    assert told["relative_forgetting"] == pytest.approx(1.0)


def test_without_answers_there_is_no_metric_of_them(tmp_path: Path) -> None:
    write_answers(tmp_path, "naive", 0, {"only": np.arange(30) % 3 > 0}, measure="entity_f1")
    names = ["recency_bias", "expected_calibration_error"]
    for runs in ([make_run()], load_runs(tmp_path)):
        (table,) = compare(runs, names).tables
        assert [table.rows[0].cells[name].mean for name in names] == [None, None]


def test_a_metric_without_a_better_direction_marks_no_best(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(next((PUBLISHED / name).glob("*-s0-*"))) for name in ("naive", "slda")]
    assert main(["compare", *paths, "--metric", "recency_bias", "--metric", "expected_calibration_error"]) == 0
    lines = capsys.readouterr().out.splitlines()
    naive, slda = (next(line.split() for line in lines if line.startswith(name)) for name in ("naive", "slda"))
    assert naive[2] == "1.000"
    assert slda[2][-1] != "*"
    assert slda[3][-1] == "*"
