"""What lies around a run: missing programs, links, names that terminals and spreadsheets act upon."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clbench.commands import describe, listing
from clbench.errors import RunError
from clbench.models.safe_weights import check_weight_index
from clbench.results import environment
from clbench.results.folder import RunFolder
from clbench.text import spreadsheet_cell


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


def test_an_index_of_safetensors_that_names_a_pickle_is_refused(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "pytorch_model.bin"}}))
    with pytest.raises(ValueError, match=r"names pytorch_model\.bin, which is not safetensors"):
        check_weight_index(str(tmp_path), False)
    check_weight_index(str(tmp_path), True)
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    check_weight_index(str(tmp_path), False)


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
