"""Names, files and models made to do harm: nothing leaves the results folder, nothing is run, nothing is garbled."""

from __future__ import annotations

import builtins
import csv
import io
import json
import os
import pickle
import tarfile
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.kills import only_folder
from clbench.cli import main
from clbench.config import make_config
from clbench.engine.engine import run_folder
from clbench.errors import InputError, RunError
from clbench.sources.archives import Member, read_member
from clbench.tasks.checks import check_tasks
from clbench.tasks.rows import task_from_rows
from clbench.text import clean

NAMES = [
    "/etc/passwd", "C:\\temp\\x", "con", "..", "../../escape", "a" * 300, "\U0001f9e0 brain", "\u202eright to left",
    "line\nbreak", "\x1b[31mred\x1b[0m", "tab\there", "50% & $x^2_i$ #{}~\\input{x}", "|pipe|*bold* `code` [a](b)",
    "<script>alert(1)</script>", "=cmd|' /C calc'!A0", "\u0645\u0647\u0645\u0629",
]  # fmt: skip
LABELS = ["<b>&\n", "\\$%_{}", "\u202e|\x1b[2J"]
SCENARIO = '''
"""Tasks with the names given."""

import json
import random
from pathlib import Path

from clbench import Scenario
from clbench.tasks import task_from_rows


class Hostile(Scenario):
    defaults = {"model": "tiny", "max_length": 16}

    def __init__(self, *, seed: int = 0, setting: str = "task", names: str = "") -> None:
        super().__init__(seed=seed, setting=setting)
        self.names = json.loads(Path(names).read_text())

    def tasks(self):
        chance = random.Random(self.seed)
        words = "apple river stone candle window".split()
        return [self.task(name, chance, words) for name in self.names["tasks"]]

    def task(self, name, chance, words):
        texts = [f"{' '.join(chance.choices(words, k=3))} {number}" for number in range(24)]
        labels = self.names["labels"]
        return task_from_rows(name, [(text, labels[i % len(labels)]) for i, text in enumerate(texts)], self.seed)
'''
SMALL = ["--epochs", "1", "--batch-size", "24", "--device", "cpu"]


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts}


def write_scenario(folder: Path, tasks: list[str], labels: list[str], file: str = "hostile.py") -> list[str]:
    """The options of `run` for a scenario with these names."""
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(SCENARIO)
    (folder / "names.json").write_text(json.dumps({"tasks": tasks, "labels": labels}))
    return ["--scenario", str(folder / file), "--scenario-arg", f"names={folder / 'names.json'}"]


def test_hostile_names_of_tasks_and_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = NAMES[4:12]
    options = write_scenario(tmp_path / "plugins", names, LABELS)
    before = tree(tmp_path)
    results = tmp_path / "results"
    assert main(["run", *options, "--strategy", "naive", "--output-dir", str(results), *SMALL]) == 0
    assert {name.split("/")[0] for name in tree(tmp_path) - before} == {"results"}
    for text in capsys.readouterr():
        assert all(line == clean(line) for line in text.split("\n"))
    folder = only_folder(results)
    assert folder is not None
    result = folder.read_result()
    assert result is not None
    assert result["tasks"] == names
    predictions = folder.read_predictions()
    assert set(predictions["task"]) == set(names)
    assert set(predictions["label"]) == set(LABELS)
    lines = (folder.path / "log.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line)["event"] for line in lines if line].count("row") == len(names) + 1
    for kind in ("curves", "matrix"):
        assert main(["plot", kind, str(results), "-o", str(tmp_path / f"{kind}.svg")]) == 0
        xml.etree.ElementTree.parse(tmp_path / f"{kind}.svg")


@pytest.mark.parametrize(
    "file", ["...py", "-rf.py", "con.py", "a;b c.py", "\u202e\U0001f9e0.py", "x" * 200 + ".py", "a\nb.py"]
)
def test_hostile_file_names_of_plugins(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = write_scenario(tmp_path / "plugins", ["one", "two"], ["a", "b"], file)
    arguments = ["run", *options, "--strategy", "naive", "--output-dir", str(tmp_path / "results"), "--dry-run"]
    assert main(arguments) == 0
    place = Path(capsys.readouterr().out.split("\n{")[0])
    assert place.resolve().is_relative_to(tmp_path / "results")
    assert len(place.relative_to(tmp_path / "results").parts) == 3
    assert str(place) == clean(str(place))


@pytest.mark.parametrize("name", [*NAMES, "~/x", ".", "", "a/../../b", "ewc/../naive", "http://host/x.py", "-h"])
def test_hostile_names_of_strategies_and_scenarios_are_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["run", f"--scenario={name}", "--strategy", "naive"],
        ["run", "--scenario", "toy", f"--strategy={name}"],
        ["describe", "--", name],
    ):
        assert main(arguments) == 2
        output, complaint = capsys.readouterr()
        assert output == ""
        assert len(complaint.splitlines()) == 1
        assert complaint.rstrip("\n") == clean(complaint.rstrip("\n"))
    assert tree(tmp_path) == set()


@pytest.mark.parametrize("name", [*NAMES, "."])
def test_no_name_of_a_model_or_strategy_leaves_the_results_folder(name: str, tmp_path: Path) -> None:
    config = make_config({"scenario": name, "strategy": name, "model": name, "output_dir": str(tmp_path)})
    place = run_folder(config).path
    assert place.parents[2] == tmp_path
    assert place.resolve().parents[2] == tmp_path.resolve()
    place.mkdir(parents=True)


def touch_command(marker: Path) -> str:
    return f"__import__('pathlib').Path({str(marker)!r}).touch()"


def test_code_in_values_is_refused_or_a_plain_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = touch_command(tmp_path / "marker")
    run = ["run", "--scenario", "toy", "--output-dir", str(tmp_path / "results"), "--dry-run"]
    for arguments in (
        ["--strategy", f"ewc(ewc_lambda={code})"],
        ["--strategy", f"ewc({code})"],
        ["--strategy", f"ewc(fisher=f'{{{code}}}')"],
        ["--strategy", "naive", "--scenario-arg", f"train={code}"],
        ["--strategy", "naive", "--scenario-arg", f"{code}=1"],
    ):
        assert main([*run, *arguments]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    options = write_scenario(tmp_path / "plugins", ["one", "two"], ["a", "b"])
    plain = tmp_path / "plugins" / "names.json"
    plain.rename(tmp_path / "plugins" / "[].clear()")
    options[-1] = f"names={tmp_path / 'plugins' / '[].clear()'}"
    assert main(["run", *options, "--strategy", "naive", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n")[2])["scenario_args"]["names"].endswith("/[].clear()")
    assert not (tmp_path / "marker").exists()


def test_yaml_with_python_objects_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marker = tmp_path / "marker"
    for tag in (f"!!python/object/apply:os.mkdir [{str(marker)!r}]", "!!python/name:os.system", "!!python/module:os"):
        (tmp_path / "settings.yaml").write_text(f"scenario: toy\nstrategy: naive\nmodel: {tag}\n")
        assert main(["run", "--config", str(tmp_path / "settings.yaml"), "--dry-run"]) == 2
        assert "could not determine a constructor" in capsys.readouterr().err
    assert not marker.exists()


def test_yaml_that_grows_without_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    levels = [f"- &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(12)]
    text = "\n".join(
        ["scenario: toy", "strategy: naive", "scenario_args:", "  train:", "  - &a0 lol", *("  " + x for x in levels)]
    )
    (tmp_path / "settings.yaml").write_text(text)
    assert main(["run", "--config", str(tmp_path / "settings.yaml"), "--dry-run"]) == 2
    assert "alias" in capsys.readouterr().err


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


BERT = {"model_type": "bert", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}


def write_model(folder: Path, **config: object) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**BERT, "intermediate_size": 8, **config}))
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d"]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))


def run_model(model: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a run with ``model`` is refused."""
    options = ["--scenario", "toy", "--strategy", "naive", "--output-dir", str(model.parent / "results"), *SMALL]
    assert main(["run", *options, "--model", str(model)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_pickled_model_is_refused_unread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "model")
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "marker")))
    assert "safetensors" in run_model(tmp_path / "model", capsys)
    assert not (tmp_path / "marker").exists()
    pickle.loads((tmp_path / "model" / "pytorch_model.bin").read_bytes())
    assert (tmp_path / "marker").exists()  # it would have worked


def test_code_that_comes_with_a_model_is_never_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "input", lambda *_: "y")  # to the question whether to run it
    classes = {"AutoConfig": "harm.Config", "AutoModelForSequenceClassification": "harm.Model"}
    write_model(tmp_path / "model", model_type="harm", auto_map=classes)
    code = f"from pathlib import Path\nPath({str(tmp_path / 'marker')!r}).touch()\n"
    (tmp_path / "model" / "harm.py").write_text(code + "class Config: pass\nclass Model: pass\n")
    run_model(tmp_path / "model", capsys)
    assert not (tmp_path / "marker").exists()


def test_a_run_folder_that_is_compared_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "results" / "toy" / "naive" / "tiny-s0-0123abcd"
    place.mkdir(parents=True)
    (place / "harm.py").write_text(touch_command(tmp_path / "marker"))
    files = {"scenario:toy": str(place / "harm.py"), "strategy:naive": str(place / "harm.py")}
    (place / "config.json").write_text(json.dumps({"scenario": "toy", "hash8": "0123abcd", "plugin_files": files}))
    for arguments in (["list", "runs"], ["compare"]):
        assert main([*arguments, str(tmp_path / "results")]) in (0, 2)
    capsys.readouterr()
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_an_archive_leads_nowhere(kind: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("data/corpus.txt")
        info.type, info.linkname = kind, str(tmp_path / "secret")
        tar.addfile(info)
    with pytest.raises(RunError):
        read_member(tmp_path / "a.tar", Member("data/corpus.txt", 6))


def test_names_that_no_file_can_hold_are_refused_before_the_run() -> None:
    bad = "lone \ud800 surrogate"
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(20)]
    one, two = (task_from_rows(name, rows, 0) for name in ("one", "two"))
    check_tasks([one, two], "task")
    for task in (replace(two, name=bad), replace(two, labels=("a", bad))):
        with pytest.raises(InputError, match="surrogate"):
            check_tasks([one, task], "task")


def test_a_table_for_a_spreadsheet_reads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = write_scenario(tmp_path / "plugins", ['one, "two"', "=1+1"], ["a", "b"])
    results = str(tmp_path / "results")
    assert main(["run", "-q", *options, "--strategy", "naive", "--output-dir", results, *SMALL]) == 0
    capsys.readouterr()
    for format in ("table", "markdown", "csv", "latex", "json"):
        assert main(["compare", results, "--format", format]) == 0
        output = capsys.readouterr().out
        assert all(line == clean(line) for line in output.split("\n"))
        if format == "csv":
            rows = list(csv.reader(io.StringIO(output)))
            assert len({len(row) for row in rows}) == 1
