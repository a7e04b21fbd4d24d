"""What lies around a run: missing programs, links, names that terminals and spreadsheets act upon."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from clbench.cli import main
from clbench.commands import describe, listing
from clbench.doors import is_installed
from clbench.errors import InputError, RunError
from clbench.files import cache_folder, write_atomic
from clbench.plugins import make_plan
from clbench.results import environment
from clbench.results.folder import RunFolder
from clbench.text import spreadsheet_cell
from tests.helpers import ROOT

CSV_SCENARIO = '''"""Tasks of a table."""

from clbench import Scenario
from clbench.toolkit import read_csv_tasks


class Table(Scenario):
    def __init__(self, *, seed: int = 0, setting: str = "task", path: str = "") -> None:
        super().__init__(seed=seed, setting=setting)
        self.path = path

    def tasks(self):
        return read_csv_tasks(self.path, self.seed)
'''


def test_without_the_git_program_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "clbench" / "results" / "environment.py"))
    monkeypatch.setenv("PATH", str(tmp_path))
    told = environment.describe_environment({}, "", {})
    assert (told["commit"], told["dirty"]) == (None, None)


def test_a_checkout_without_changes_is_clean_and_one_with_changes_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for status, dirty in (("", False), (" M clbench/files.py", True)):
        monkeypatch.setattr(environment, "_git", lambda *_, status=status: status)
        assert environment.describe_environment({}, "", {})["dirty"] is dirty


def test_a_folder_called_avalanche_is_not_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "avalanche").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    version = metadata.version

    def without_avalanche(name: str) -> str:
        if name == "avalanche-lib":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without_avalanche)
    environment._versions.cache_clear()
    request.addfinalizer(environment._versions.cache_clear)
    assert "avalanche-lib" not in environment.describe_environment({}, "", {})["versions"]
    with pytest.raises(InputError, match="Avalanche is not installed"):
        make_plan({"scenario": "toy", "strategy": "avalanche.EWC(ewc_lambda=1)", "device": "cpu"})


def test_no_folder_where_it_is_started_hides_a_library(tmp_path: Path) -> None:
    (tmp_path / "typer").mkdir()
    (tmp_path / "typer" / "__init__.py").write_text("raise SystemExit('not typer')")
    command = [sys.executable, "-m", "clbench", "--version"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


NOBODY = "~nobody-of-that-name/x"
TOY_RUN = ["run", "--scenario", "toy", "--strategy", "naive", "--device", "cpu", "--model", "tiny", "--dry-run"]


@pytest.mark.parametrize(
    "command",
    [
        [*TOY_RUN, "--output-dir", NOBODY],
        [*TOY_RUN, "--config", NOBODY],
        [*TOY_RUN, "--model", NOBODY],
        [*TOY_RUN, "--scenario", f"{NOBODY}.py"],
        [*TOY_RUN, "--strategy", f"{NOBODY}.py"],
        ["resume", NOBODY],
        ["compare", NOBODY],
        ["compare", "--metric", f"{NOBODY}.py", str(ROOT / "results" / "published" / "precision")],
        ["plot", "curves", str(ROOT / "results" / "published" / "precision"), "-o", f"{NOBODY}.png"],
        ["list", "runs", NOBODY],
        ["metrics", NOBODY],
        ["describe", f"{NOBODY}.py"],
        ["check", f"{NOBODY}.py"],
        ["export", "a-run", "-o", NOBODY],
        ["tune", "--scenario", "toy", "--strategy", "naive", "-o", f"{NOBODY}.yaml"],
        ["advise", "toy", "-o", NOBODY],
        ["report", str(ROOT / "results" / "published" / "precision"), "-o", f"{NOBODY}.html"],
    ],
    ids=lambda command: " ".join(command)[:60],
)
def test_the_home_of_nobody_is_one_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 2
    output, complaint = capsys.readouterr()
    assert output == ""
    (line,) = complaint.splitlines()
    assert NOBODY in line


@pytest.mark.parametrize("value", [NOBODY, None])
def test_so_is_a_cache_that_has_no_place(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    if value:
        monkeypatch.setenv("CLBENCH_CACHE", value)
    else:
        monkeypatch.delenv("CLBENCH_CACHE", raising=False)
    with pytest.raises(InputError, match=r"CLBENCH_CACHE.*(allowed: a path|to a folder of yours)"):
        cache_folder()


@pytest.mark.parametrize("thing", ["pipe", "folder", "20 GB", "link to nothing"])
@pytest.mark.parametrize(
    "option", ["--config", "--scenario", "--strategy", "--metric", "metrics", "path", "data", "--tuned"]
)
def test_whatever_lies_where_a_file_is_given_is_one_line(
    thing: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / ("given.csv" if option == "data" else "given.py")
    if thing == "pipe":
        os.mkfifo(place)
    elif thing == "folder":
        place.mkdir()
    elif thing == "20 GB":
        with place.open("wb") as file:
            file.truncate(20 * 10**9)
    else:
        place.symlink_to(tmp_path / "nothing")
    published = str(ROOT / "results" / "published" / "precision")
    csv_scenario = tmp_path / "table.py"
    csv_scenario.write_text(CSV_SCENARIO)
    commands = {
        "metrics": ["metrics", str(place)],
        "--metric": ["compare", published, "--metric", str(place)],
        "path": [*TOY_RUN, "--scenario", str(csv_scenario), "--scenario-arg", f"path={place}"],
        "data": [*TOY_RUN, "--scenario", str(place)],
    }
    assert main(commands.get(option) or [*TOY_RUN, option, str(place)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(place) in line


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    place = tmp_path / f".clbench-{os.getpid()}-{threading.get_ident()}.tmp"
    for leads in (place, tmp_path / "file"):
        leads.symlink_to(outside)
        write_atomic(tmp_path / "file", "new")
        assert (tmp_path / "file").read_text() == "new"
        assert not (tmp_path / "file").is_symlink()
        assert outside.read_text() == "mine"
        (tmp_path / "file").unlink()


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


def test_python_without_docstrings_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clbench.models.libraries.sys", SimpleNamespace(flags=SimpleNamespace(optimize=2)))
    assert main(["run", "--scenario", "toy", "--strategy", "naive", "--device", "cpu", "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "PYTHONOPTIMIZE=2" in line


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


def test_a_folder_of_a_packages_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nobodys_tracker").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module("nobodys_tracker").__file__ is None  # Python takes it for one
    found = [is_installed(name) for name in ("nobodys_tracker", "nobodys_other", "torch")]
    assert found == [False, False, True]
