"""What the commands make of a person's data: describe, list, data, check, run --dry-run, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clbench import plugins, presets, sources
from clbench.cli import complete_plugin, complete_scenario, main
from clbench.commands.describe import page
from clbench.errors import InputError
from tests.helpers import ROOT

# Two tasks of two labels; the words of a text are its number of tokens less two for the model tiny.
ROWS = [f"{task},{label} {task} {n},{label}" for task in ("fax", "web") for label in ("bad", "good") for n in range(8)]

KNOWN = [*sorted(plugins.available("scenario")), *presets.available_presets()]
BEGIN_WITH_T = [name for name in KNOWN if name.startswith("t")]


def table(folder: Path, *more: str) -> Path:
    (folder / "t.csv").write_text("\n".join(["task,text,label", *ROWS, *more]), encoding="utf-8")
    return folder / "t.csv"


def test_the_page_of_a_table_in_full(tmp_path: Path) -> None:
    longer = "web,a text of ten words that is longer than others,good"
    lines = page(str(table(tmp_path, longer, "web,,bad")), {}, {"model": "tiny", "max_length": 6}).splitlines()
    assert lines == [
        "t (your data)",
        "",
        "t.csv: 34 rows (UTF-8, separated by commas)",
        "columns: task = task (by its name), text = text (by its name), label = label (by its name)",
        "",
        "task  texts  train  dev  test  labels  most : fewest",
        "----  -----  -----  ---  ----  ------  -------------",
        "fax      16     10    2     4       2        1.0 : 1",
        "web      17     11    2     4       2        1.1 : 1",
        "",
        "labels and their texts:",
        "fax: bad 8, good 8",
        "web: good 9, bad 8",
        "",
        "lengths in tokens of tiny: half up to 5, 95 % up to 5, the longest 12",
        "1 of 33 texts (3 %) are cut at 6 tokens",
        "",
        "problems:",
        "- 1 row without a text (line 35): left out",
        "",
        "setting: domain, as the data propose: all tasks have the same labels; "
        "task where a text's task is known when it is answered",
        "also possible: task (--setting)",
        "not class: 'bad' is a label of 'fax' and of 'web'; rename one where they mean different things, "
        "or take task, where they stay apart, or domain, where they are one",
        "",
        "a run trains tiny on one task after another (steps): fax (36), web (36)",
    ]


def test_a_page_tells_why_a_run_would_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path, "fax,alone,rare")
    assert main(["describe", str(path)]) == 0
    told = capsys.readouterr().out
    assert "- 1 label with fewer than 3 texts, 'rare' of 'fax' (1): a run stops here" in told
    reason = "1 label with fewer than 3 texts, 'rare' of 'fax' (1); mend the data, or say --scenario-arg"
    assert f"a run would not start: {path}: {reason}" in told
    assert "lengths in words: half up to 3, 95 % up to 3, the longest 3" in told
    assert main(["describe", str(path), "--scenario-arg", "on_problem=drop", "--model", "tiny"]) == 0
    told = capsys.readouterr().out
    assert "'rare' of 'fax' (1): left out with 1 row" in told
    assert "a run trains tiny" in told


def test_a_model_that_is_not_here_is_not_fetched_for_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path / "cache"))
    lines = page(str(table(tmp_path)), {}, {"setting": "task"}).splitlines()
    why = "minilm cuts at 64 tokens; its tokens are counted once it is here: clbench data pull"
    assert f"lengths in words: half up to 3, 95 % up to 3, the longest 3 ({why})" in lines
    assert any(line.startswith("setting: task, as asked for; the data propose domain") for line in lines)
    assert not (tmp_path / "cache").exists()


def test_options_of_data_are_for_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^model: only for data .*, which 'ewc' is not$"):
        page("ewc", {}, {"model": "tiny"})
    with pytest.raises(InputError, match=r"setting 'class' cannot be had here: 'bad' is a label of 'fax' and of 'web'"):
        page(str(table(tmp_path)), {}, {"setting": "class"})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ewc").mkdir()  # a strategy's name comes before a folder's
    assert page("ewc").startswith("ewc (strategy)")


def test_the_list_of_scenarios_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "scenarios"]) == 0
    listed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "  Your own data: .csv, .tsv, .jsonl, .json or .parquet; " in listed["FILE|FOLDER|hub:ID"]


def test_what_is_pulled_for_data_is_the_default_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pulled: list[str] = []
    monkeypatch.setattr(sources, "pull", pulled.extend)
    assert main(["data", "pull", str(table(tmp_path))]) == 0
    assert pulled == ["minilm"]
    assert main(["data", "pull", str(tmp_path / "nosuch.csv")]) == 2
    assert "nosuch.csv: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["describe"], ["run", "--strategy", "naive", "--scenario"], ["advise"]])
def test_a_file_that_is_not_there_is_not_taken_for_a_name(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(table(tmp_path).parent)
    assert main([*command, "t.cvs"]) == 2
    assert "there is no file 't.cvs'; did you mean 't.csv'? allowed: a name or the path" in capsys.readouterr().err
    assert main([*command, "gone/tables"]) == 2
    assert "file 'gone/tables' does not exist; allowed: a name or the path" in capsys.readouterr().err


def test_dry_run_says_what_it_found_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path, "web,,bad")
    several = ["--strategy", "naive", "--strategy", "replay", "--model", "tiny", "--max-length", "4"]
    assert main(["run", "--scenario", str(path), *several, "--dry-run"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "estimate" not in line] == [
        "note: t.csv: 33 rows (UTF-8, separated by commas)",
        "note: columns: task = task (by its name), text = text (by its name), label = label (by its name)",
        "note: 1 row without a text (line 34): left out",
        "warning: 32 of 32 texts (100 %) are cut at 4 tokens; --max-length 5 would cut 5 % or fewer",
    ]


def test_check_takes_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(table(tmp_path)), "--scenario-arg", "order=web,fax"]) == 0
    assert "FAILED" not in capsys.readouterr().out


def test_names_and_paths_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path)
    (tmp_path / "tables").mkdir()
    monkeypatch.chdir(tmp_path)
    assert complete_scenario("t") == [*BEGIN_WITH_T, "t.csv", f"tables{os.sep}"]
    assert complete_scenario("./t.") == ["./t.csv"]
    assert complete_plugin("nai") == ["naive"]
    assert complete_scenario("nai") == []


def test_the_shell_completes_them(tmp_path: Path) -> None:
    table(tmp_path)
    words = {"_CLBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "clbench run --scenario t", "COMP_CWORD": "3"}
    done = subprocess.run(
        [sys.executable, "-c", "from clbench.cli import main; main()"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **words},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [*BEGIN_WITH_T, "t.csv"], done.stderr
