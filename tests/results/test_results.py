"""Run folders: names, atomic writes, the format of a result and the search for runs."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clbench.config import identity
from clbench.errors import InputError, RunError
from clbench.files import safe_name, write_atomic
from clbench.results.folder import PREDICTION_COLUMNS, RunFolder
from clbench.results.metrics import METRICS, compute_metrics, forgetting_matrix
from clbench.results.runs import find_runs
from clbench.results.schema import COSTS, validate_result

MATRIX: list[list[float | None]] = [[0.1, None], [0.9, 0.2], [0.6, 0.8]]


def make_result(**changes: Any) -> dict[str, Any]:
    result = {
        "schema_version": 1,
        "status": "complete",
        "scenario": "toy",
        "setting": "task",
        "strategy": "naive",
        "model": "tiny",
        "seed": 0,
        "tasks": ["first", "second"],
        "limited": False,
        "accuracy_matrix": copy.deepcopy(MATRIX),
        "forgetting_matrix": forgetting_matrix(MATRIX),
        "metrics": compute_metrics(MATRIX),
        "cost": dict.fromkeys(COSTS, 1),
    }
    return result | changes


def make_folder(output: Path, strategy: str = "naive", seed: int = 0, finished: bool = True) -> RunFolder:
    config = {"scenario": "toy", "strategy": strategy, "seed": seed}
    hash8 = identity(config)[:8]
    folder = RunFolder.locate(output, "toy", strategy, "tiny", seed, hash8)
    folder.write_config({**config, "hash8": hash8})
    if finished:
        folder.write_result(make_result(strategy=strategy, seed=seed))
    return folder


def test_where_a_run_lies(tmp_path: Path) -> None:
    folder = RunFolder.locate(tmp_path, "text_seq", "replay(memory_size=0.05)+ewc", "minilm", 3, "0123abcd")
    assert folder.path == tmp_path / "text_seq" / "replay(memory_size=0.05)+ewc" / "minilm-s3-0123abcd"
    assert folder.checkpoint == folder.path / "checkpoint"
    assert not folder.path.exists()


@pytest.mark.parametrize(
    "name", ["ewc", "replay(memory_size=0.05)+ewc", "lora(r=8, target='all')", "../../etc", "a", "-x"]
)
def test_ordinary_names_stay_and_no_name_leaves_the_folder(name: str, tmp_path: Path) -> None:
    safe = safe_name(name)
    assert (safe == name) == ("/" not in name)
    assert (tmp_path / safe).resolve().parent == tmp_path.resolve()


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "/", "/etc/passwd", "a/b", "a\\b", "con", "NUL.txt", "COM1", "x" * 300, "\U0001f600", "\u202eabc",
     "a\nb", "end.", "end ", ".hidden", "C:", "a\0b", "\ud800"],
)  # fmt: skip
def test_dangerous_names_are_changed_and_stay_different(name: str, tmp_path: Path) -> None:
    safe = safe_name(name)
    assert safe != name
    assert safe != safe_name(name + "!")
    assert safe.isascii()
    assert len(safe) <= 120
    assert (tmp_path / safe).parent == tmp_path
    (tmp_path / safe).mkdir()
    assert safe_name(safe) == safe


def test_round_trip(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, finished=False)
    assert folder.read_result() is None
    result = make_result(note="caf\u00e9", macro_f1_matrix=MATRIX, metrics_f1=compute_metrics(MATRIX))
    folder.write_result(result)
    assert folder.read_result() == result
    text = (folder.path / "result.json").read_text(encoding="utf-8")
    assert "caf\u00e9" in text
    assert list(json.loads(text)) == list(result)
    assert text.startswith('{\n  "schema_version": 1')


def test_environment_may_hold_undecodable_paths_but_no_nan(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    folder.write_environment({"command": "run \udcff"})
    assert json.loads((folder.path / "environment.json").read_bytes()) == {"command": "run \udcff"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.write_environment({"value": float("nan")})
    assert json.loads((folder.path / "environment.json").read_bytes()) == {"command": "run \udcff"}


def test_log_lines_are_appended_after_a_line_that_a_crash_cut_off(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    folder.append_log({"event": "first"})
    folder.append_log({"event": "second"})
    log = folder.path / "log.jsonl"
    assert [json.loads(line) for line in log.read_text().splitlines()] == [{"event": "first"}, {"event": "second"}]
    with log.open("a") as file:
        file.write('{"event": "cut')
    folder.append_log({"event": "third"})
    assert log.read_text().splitlines()[2:] == ['{"event": "cut', '{"event": "third"}']


def test_a_log_is_cut_to_the_rows_that_are_kept(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    log = folder.path / "log.jsonl"
    folder.cut_log(2)
    entries: list[dict[str, Any]] = [
        {"event": "row", "after_task": 0},
        {"event": "note", "after_task": 1},
        {"event": "row", "after_task": 1},
        {"event": "failure", "traceback": "x"},
        {"event": "note", "after_task": 2},
        {"event": "row", "after_task": 2},
    ]
    for entry in entries:
        folder.append_log(entry)
    with log.open("a") as file:
        file.write('{"event": "row", "after_task": 1')
    folder.cut_log(2)
    assert [json.loads(line) for line in log.read_text().splitlines()] == entries[:4]
    folder.cut_log(0)
    assert not log.exists()


@pytest.mark.parametrize("lay", ["link", "pipe", "20 GB"])
def test_what_is_no_log_is_neither_read_nor_written(lay: str, tmp_path: Path) -> None:
    folder, outside = make_folder(tmp_path), tmp_path / "outside"
    outside.write_text('{"event": "row", "after_task": 5}\n')
    log = folder.path / "log.jsonl"
    if lay == "link":
        log.symlink_to(outside)
    elif lay == "pipe":
        os.mkfifo(log)
    else:
        with log.open("wb") as file:
            file.truncate(20 * 10**9)
    with pytest.raises(RunError, match=r"log\.jsonl: cannot be read: it is"):
        folder.cut_log(1)
    assert outside.read_text() == '{"event": "row", "after_task": 5}\n'


def test_predictions_round_trip(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    columns: dict[str, list[Any]] = {
        "after_task": [0, 1],
        "task": ["first", "first"],
        "index": [7, 7],
        "label": ["yes", "yes"],
        "prediction": ["no", "yes"],
        "confidence": [0.5, 0.75],
    }
    folder.write_predictions(columns)
    assert folder.read_predictions() == columns
    assert tuple(folder.read_predictions()) == PREDICTION_COLUMNS
    with pytest.raises(ValueError, match="columns"):
        folder.write_predictions({**columns, "logits": [1, 2]})


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_atomic(path, "old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


def test_the_new_content_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    seen = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        seen.append(path.read_text())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    other_name = tmp_path / "link.json"
    os.link(path, other_name)
    write_atomic(path, b"new")
    assert other_name.read_text() == "old"  # the old file was left whole, not written over
    assert seen == ["old", "new"]  # the file before, the folder after the rename
    assert path.read_text() == "new"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("")
    with pytest.raises(InputError, match=r"toy.*--output-dir"):
        make_folder(tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="Permission denied"):
            make_folder(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_lost_during_a_run_is_a_failed_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "lost")
    with pytest.raises(RunError, match=r"result\.json: cannot be written"):
        folder.write_result(make_result())
    with pytest.raises(RunError, match=r"log\.jsonl: cannot be written"):
        folder.append_log({})


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda r: r.pop("seed"), "'seed' is missing"),
        (lambda r: r.update(schema_version=2), "schema_version is 2; allowed: 1"),
        (lambda r: r.update(status="running"), "status is 'running'"),
        (lambda r: r.update(setting="clas"), "setting is 'clas'"),
        (lambda r: r.update(seed=True), "seed is True"),
        (lambda r: r.update(limited=0), "limited is 0"),
        (lambda r: r.update(tasks=["a", "a"]), "tasks is"),
        (lambda r: r.update(tasks=["a", "b", "c"]), "2 tasks, but 'tasks' names 3"),
        (lambda r: r["accuracy_matrix"].pop(), "accuracy_matrix"),
        (lambda r: r["accuracy_matrix"][1].append(0.5), "accuracy_matrix"),
        (lambda r: r["accuracy_matrix"][2].__setitem__(0, 0.7), "metrics.average_accuracy is 0.7, but"),
        (lambda r: r["metrics"].update(forgetting=0.1), "metrics.forgetting is 0.1, but"),
        (lambda r: r["metrics"].update(forward_transfer=0.0), "metrics.forward_transfer is 0.0, but"),
        (lambda r: r["metrics"].update(forgetting=None), "metrics.forgetting is None"),
        (lambda r: r["metrics"].pop("forgetting"), "metrics.forgetting is missing"),
        (lambda r: r["forgetting_matrix"][1].__setitem__(0, 0.0), "forgetting_matrix[1][0] is 0.0"),
        (lambda r: r["forgetting_matrix"][0].__setitem__(1, 0.0), "forgetting_matrix[0][1] is 0.0"),
        (lambda r: r["forgetting_matrix"].pop(), "forgetting_matrix is not 2 rows"),
        (lambda r: r["cost"].pop("wall_seconds"), "cost.wall_seconds is missing"),
        (lambda r: r["cost"].update(wall_seconds="1"), "cost.wall_seconds is '1'"),
        (lambda r: r["cost"].update(wall_seconds=-1), "cost.wall_seconds is -1"),
        (lambda r: r["cost"].update(wall_seconds=1e200), "cost.wall_seconds is 1e+200"),
        (lambda r: r["cost"].update(stored_bytes=1.7e308), "cost.stored_bytes is 1.7e+308"),
        (lambda r: r.update(seed=10**4000), "seed is 1000"),
        (lambda r: r.update(strategy="x" * 10_001), "strategy is 'xxx"),
        (lambda r: r.update(macro_f1_matrix=[[0.5]]), "macro_f1_matrix"),
        (lambda r: r.update(forgetting_warnings=True), "forgetting_warnings is "),
        (lambda r: r.update(forgetting_warnings=[1]), "forgetting_warnings is "),
        (lambda r: r.update(macro_f1_matrix=MATRIX, metrics_f1={}), "metrics_f1.average_accuracy is missing"),
    ],
)
def test_a_broken_or_edited_result_is_refused(change: Change, part: str) -> None:
    result = make_result()
    assert validate_result(result, "result.json") == result
    change(result)
    with pytest.raises(InputError) as caught:
        validate_result(result, "some/result.json")
    message = str(caught.value)
    assert message.startswith("some/result.json")
    assert part in message
    assert "\n" not in message


def test_rounding_in_the_ninth_place_and_unmeasured_costs_are_allowed() -> None:
    result = make_result()
    result["metrics"]["average_accuracy"] += 5e-10
    result["cost"]["peak_memory_bytes"] = None
    validate_result(result, "result.json")
    result["metrics"]["average_accuracy"] += 1e-8
    with pytest.raises(InputError, match="average_accuracy"):
        validate_result(result, "result.json")


def test_a_metric_that_is_younger_than_the_result_is_added_from_its_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "first_task", lambda matrix: matrix[-1][0])
    result = make_result()
    del result["metrics"]["first_task"]
    assert validate_result(result, "result.json")["metrics"]["first_task"] == 0.6
    result["metrics"]["first_task"] = 0.5
    with pytest.raises(InputError, match=r"metrics\.first_task is 0\.5, but accuracy_matrix gives 0\.6"):
        validate_result(result, "result.json")


def test_find_runs_from_every_level_and_each_once(tmp_path: Path) -> None:
    folders = [make_folder(tmp_path, "ewc", 0), make_folder(tmp_path, "ewc", 1), make_folder(tmp_path, "naive", 0)]
    paths = [folder.path for folder in folders]
    assert [run.folder for run in find_runs([tmp_path])[0]] == paths
    assert [run.folder for run in find_runs([tmp_path / "toy"])[0]] == paths
    assert [run.folder for run in find_runs([tmp_path / "toy" / "ewc"])[0]] == paths[:2]
    assert [run.folder for run in find_runs([paths[1]])[0]] == paths[1:2]
    runs, skipped = find_runs([paths[2] / "result.json", tmp_path, tmp_path / "toy" / ".." / "toy"])
    assert [run.folder for run in runs] == [paths[2], paths[0], paths[1]]
    assert skipped == []
    assert runs[0].result == make_result()
    assert runs[0].config["hash8"] == paths[2].name[-8:]


def test_nothing_deeper_than_a_results_folder_is_found(tmp_path: Path) -> None:
    make_folder(tmp_path / "results")
    assert len(find_runs([tmp_path / "results"])[0]) == 1
    assert find_runs([tmp_path]) == ([], [])


def test_unfinished_and_broken_runs_are_skipped_with_a_line_each(tmp_path: Path) -> None:
    make_folder(tmp_path, "naive", 0)
    make_folder(tmp_path, "naive", 1, finished=False)
    (make_folder(tmp_path, "naive", 2).path / "result.json").write_text("{")
    (make_folder(tmp_path, "naive", 3).path / "config.json").unlink()
    (make_folder(tmp_path, "naive", 4).path / "result.json").write_text(json.dumps({"a": float("nan")}))
    model = tmp_path / "toy" / "naive" / "model"
    model.mkdir()
    (model / "config.json").write_text('{"hidden_size": 3}')
    runs, skipped = find_runs([tmp_path])
    assert [run.result["seed"] for run in runs] == [0]
    assert [line.count("\n") for line in skipped] == [0] * 4
    for line, part in zip(skipped, ["not finished", "not JSON", "config.json", "NaN"], strict=True):
        assert part in line


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("config.json", {"plugin_hashes": ["a"]}, "plugin_hashes is ['a']; allowed: an object of texts"),
        ("config.json", {"plugin_hashes": {"strategy:naive": 1}}, "plugin_hashes is {'strategy:naive': 1}"),
        ("config.json", {"plugin_hashes": None}, "plugin_hashes is None"),
        ("config.json", {"eval_split": ["dev"]}, "eval_split is ['dev']"),
        ("config.json", {"scenario_args": "x"}, "scenario_args is 'x'"),
        ("config.json", {"hash8": 7}, "hash8 is 7"),
        ("config.json", '{"lr": 1e999}', "1e999 is larger than any number here"),
        ("config.json", '{"lr": Infinity}', "Infinity is no JSON number"),
        ("config.json", '{"scenario_args": ' + "[" * 970 + "]" * 970 + "}", "nest deeper than 50"),
        ("config.json", '{"scenario_args": ' + "[" * 60 + "]" * 60 + "}", "nest deeper than 50"),
        ("result.json", '{"seed": ' + '{"a":' * 970 + "1" + "}" * 971, "nest deeper than 50"),
        ("result.json", '{"cost": {"wall_seconds": 1e400}}', "1e400 is larger"),
        ("environment.json", '{"a": ' + "[" * 970 + "]" * 970 + "}", "nest deeper than 50"),
        ("environment.json", ["a"], "is not a JSON object"),
        ("result.json", " " * (64 * 2**20 + 1), "larger than 64 MiB"),
    ],
)  # fmt: skip
def test_a_hostile_run_is_skipped_and_named(tmp_path: Path, file: str, content: object, part: str) -> None:
    make_folder(tmp_path, "naive", 0)
    path = make_folder(tmp_path, "naive", 1).path / file
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    runs, (line,) = find_runs([tmp_path])
    assert [run.result["seed"] for run in runs] == [0]
    assert part in line
    assert str(path) in line
    assert len(line) < 400


def test_a_path_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file or folder.*missing"):
        find_runs([tmp_path / "missing"])
    (tmp_path / "other.txt").write_text("")
    with pytest.raises(InputError, match=r"other\.txt.*result\.json"):
        find_runs([tmp_path / "other.txt"])
    assert find_runs([tmp_path]) == ([], [])
