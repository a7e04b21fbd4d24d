"""A kind of a person's own, regression, in the file of their scenario; strategies learn it as they do any other."""

import json
from pathlib import Path

import pytest

from clbench.cli import main
from tests.test_docs import write_files


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    return str(write_files("docs/kinds.md", tmp_path)["colours.py"])


def test_a_kind_of_ones_own_runs_with_what_asks_the_kind(scenario: str, tmp_path: Path) -> None:
    strategies = ["naive", "replay(memory_size=0.5)", "ewc"]
    given = [part for name in strategies for part in ("--strategy", name)]
    assert main(["run", "--scenario", scenario, *given, "--output-dir", str(tmp_path), "--device", "cpu", "-q"]) == 0
    results = {}
    for file in tmp_path.glob("*/*/*/result.json"):
        result = json.loads(file.read_text())
        assert result["measure"] == "r2"
        results[result["strategy"]] = result["accuracy_matrix"]
    assert len(results) == len(strategies)
    # Learned, and then unlearned: the second task counts the other colour. Examples of the first keep some of it.
    naive, replay, ewc = (results[name] for name in strategies)
    assert naive[1][0] > 0.7
    assert naive[2][0] < 0.1 < replay[2][0]
    assert ewc[2][1] != naive[2][1]


def test_it_is_refused_where_logits_are_over_labels(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["run", "--scenario", scenario, "--strategy", "er_ace", "--output-dir", str(tmp_path)]
    assert main(given) == 2
    assert capsys.readouterr().err.strip() == (
        "error: strategy 'er_ace' does not support regression tasks; allowed: text, image"
    )


def test_its_models_are_not_kept(scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its file is not part of a model's folder."""
    given = ["run", "--scenario", scenario, "--strategy", "naive", "--epochs", "1", "--output-dir", str(tmp_path), "-q"]
    known = "allowed: text, token, generation, image tasks"
    assert main([*given, "--save-model"]) == 2
    line = f"error: --save-model does not know models for regression tasks; {known}; leave it away"
    assert capsys.readouterr().err.strip() == line
    assert main(given) == 0
    (run,) = tmp_path.glob("*/naive/*")
    for command in (["predict", str(run), "x"], ["export", str(run), "-o", str(tmp_path / "out")]):
        capsys.readouterr()
        assert main(command) == 2
        line = f"error: {str(run)!r} is a run on Regression tasks, whose models cannot be kept; {known}"
        assert capsys.readouterr().err.strip() == line
