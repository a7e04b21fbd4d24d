"""Files of a run that were cut, edited or mixed up: refused by name where they count, skipped by name elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.cases import EVERY_RUN, SIZES
from clbench.cli import main
from clbench.results.folder import RunFolder


def command(output: Path, seed: int) -> list[str]:
    named = ("--scenario", "toy", "--strategy", "replay", "--seed", str(seed), "--output-dir", str(output))
    return ["run", "-q", *named, *EVERY_RUN, *SIZES["toy"], "--keep-checkpoints"]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with two finished runs that kept their checkpoints."""
    output = tmp_path_factory.mktemp("originals")
    for seed in (0, 1):
        assert main(command(output, seed)) == 0
    return output


@pytest.fixture
def results(originals: Path, tmp_path: Path) -> Path:
    """A copy of them to damage."""
    return Path(shutil.copytree(originals, tmp_path / "results"))


def folders(results: Path) -> tuple[RunFolder, RunFolder]:
    first, second = sorted(path.parent for path in results.glob("*/*/*/result.json"))
    return RunFolder(first), RunFolder(second)


Damage = Callable[[Path, Path], object]


def cut(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def empty(path: Path, _: Path) -> None:
    path.write_bytes(b"")


def swap(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


def change_a_byte(path: Path, _: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def change_an_accuracy(path: Path, _: Path) -> None:
    result = json.loads(path.read_text())
    cells = result["accuracy_matrix"][-1]
    cells[0] = 0.123 if cells[0] != 0.123 else 0.321
    path.write_text(json.dumps(result))


DAMAGES: list[tuple[str, Damage]] = [
    ("result.json", cut),
    ("result.json", empty),
    ("result.json", change_an_accuracy),
    ("predictions.parquet", cut),
    ("predictions.parquet", change_a_byte),
    ("predictions.parquet", swap),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_finished_run_with_a_damaged_file(
    name: str, damage: Damage, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = folders(results)
    damage(bad.path / name, good.path / name)
    capsys.readouterr()

    assert main(command(results, 1)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(bad.path / name) in line
    assert "run it again" in line

    for others in (["compare", "--format", "csv"], ["list", "runs"]):
        assert main([*others, str(results)]) == 0
        output, complaints = capsys.readouterr()
        assert str(bad.path / name) in complaints
        assert len(complaints.splitlines()) == 1
        assert "replay" in output
    assert main(["plot", "curves", str(results), "-o", str(results / "curves.svg")]) == 0
    assert str(bad.path / name) in capsys.readouterr().err
    assert (results / "curves.svg").exists()


def test_a_result_of_another_run_is_told_by_its_predictions(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = folders(results)
    swap(bad.path / "result.json", good.path / "result.json")
    assert main(["compare", str(results)]) == 0
    assert str(bad.path / "predictions.parquet") in capsys.readouterr().err


def test_an_unfinished_run_is_skipped_by_name(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, unfinished = folders(results)
    unfinished.remove_result()
    for others in (["compare"], ["list", "runs"]):
        assert main([*others, str(results)]) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{unfinished.path}: not finished" in line


def test_overwrite_makes_a_damaged_run_anew(results: Path, originals: Path) -> None:
    _, bad = folders(results)
    cut(bad.path / "predictions.parquet", bad.path)
    assert main([*command(results, 1), "--overwrite"]) == 0
    assert bad.read_predictions() == folders(originals)[1].read_predictions()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.safetensors", cut),
        ("state.safetensors", swap),
        ("state.json", change_a_byte),
        ("manifest.json", empty),
        ("manifest.json", swap),
        ("manifest.json", lambda path, _: path.unlink()),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_what_the_line_says_helps(
    name: str, damage: Damage, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = folders(results)
    bad.remove_result()
    damage(bad.checkpoint / name, good.checkpoint / name)
    capsys.readouterr()
    assert main(command(results, 1)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(bad.checkpoint) in line
    assert f"delete {bad.checkpoint} to start this run again" in line
    shutil.rmtree(bad.checkpoint)
    if name == "state.json":  # once is enough: it takes a whole run
        assert main(command(results, 1)) == 0


def test_a_whole_checkpoint_of_another_run_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = folders(results)
    bad.remove_result()
    shutil.rmtree(bad.checkpoint)
    shutil.copytree(good.checkpoint, bad.checkpoint)
    capsys.readouterr()
    assert main(command(results, 1)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "belongs to the configuration" in line
    assert bad.path.name[-8:] in line
