"""What lies around a run: missing programs, links, names that terminals and spreadsheets act upon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clbench.cli import main
from clbench.commands import describe, listing
from clbench.errors import RunError
from clbench.results import environment
from clbench.results.folder import RunFolder
from clbench.text import spreadsheet_cell
from tests.helpers import ROOT


def test_without_the_git_program_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "clbench" / "results" / "environment.py"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment._git("rev-parse", "HEAD") is None


def test_a_log_that_is_a_link_or_a_pipe_is_refused(tmp_path: Path) -> None:
    outside, log = tmp_path / "outside", tmp_path / "log.jsonl"
    outside.write_text("mine")
    log.symlink_to(outside)
    with pytest.raises(RunError, match=r"log\.jsonl: cannot be written"):
        RunFolder(tmp_path).append_log({"event": "row"})
    assert outside.read_text() == "mine"
    log.unlink()
    os.mkfifo(log)
    with pytest.raises(RunError, match=r"log\.jsonl: cannot be written"):
        RunFolder(tmp_path).append_log({"event": "row"})


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@a", "'@a"),
        ("\t=1", "'\\t=1"),
        (" =1", "' =1"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_no_name_is_a_formula_in_a_spreadsheet(text: str, cell: str) -> None:
    assert spreadsheet_cell(text) == cell


def test_a_docstring_and_a_folder_send_no_escapes_to_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "loud.py"
    file.write_text('from clbench import Strategy\n\n\nclass Loud(Strategy):\n    "Loud \\x1b[31mred."\n')
    assert "\\x1b[31mred" in describe.page(str(file))
    assert "\x1b" not in describe.page(str(file))
    assert listing._cell("a\x1b[2J") == "a\\x1b[2J"


@pytest.mark.parametrize(
    ("name", "value"),
    [("WORLD_SIZE", "2"), ("PMI_SIZE", "4"), ("OMPI_COMM_WORLD_SIZE", "2"), ("ACCELERATE_USE_DEEPSPEED", "true")],
)
def test_one_of_several_processes_is_refused_in_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--scenario", "toy", "--strategy", "naive", "--device", "cpu", "--dry-run"]
    monkeypatch.setenv(name, value)
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name}={value}" in line
    monkeypatch.setenv(name, "1" if "SIZE" in name else "false")
    assert main(command) == 0


def test_the_users_settings_of_matplotlib_do_not_matter(tmp_path: Path) -> None:
    """usetex asks for a LaTeX that need not be there, and MPLBACKEND may name what a notebook has."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfigure.dpi: 17\n")
    published = ROOT / "results" / "published" / "precision"
    environment = {**os.environ, "MPLBACKEND": "module://nosuch", "PYTHONPATH": str(ROOT)}
    for name, more in (("own.png", {"MATPLOTLIBRC": str(tmp_path)}), ("plain.png", {})):
        command = [sys.executable, "-m", "clbench", "plot", "curves", str(published), "-o", name]
        done = subprocess.run(
            command, cwd=tmp_path, env={**environment, **more}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_answer_that_nobody_takes_is_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m clbench list strategies"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def shell(text: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    assert shell(f"{command} > /dev/full") == (1, "error: the answer cannot be written: No space left on device\n")
    assert shell(f"{command} >&-") == (0, "")
    assert shell(f"{command} | true; exit 0") == (0, "")
