"""``run --track``: what the trackers were told is read back from where each keeps it, offline."""

from __future__ import annotations

import json
import signal
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from clbench import commands
from clbench.cli import main
from clbench.commands import trackers
from clbench.commands.tracked_worker import TrackingSender
from clbench.commands.tracking import TrackingReporter
from clbench.engine import Reporter, engine, run_one
from clbench.engine.interrupts import Interrupted
from clbench.errors import InputError
from clbench.parallel.messages import receive
from clbench.plugins.plan import make_plan
from clbench.results import find_runs

RUN: dict[str, Any] = {
    "scenario": "toy", "strategy": "naive", "epochs": 1, "min_steps": 0, "batch_size": 2, "device": "cpu",
    "scenario_args": {"tasks": 2, "train": 24, "dev": 3, "test": 6},
}  # fmt: skip
# 12 steps a task: a loss is told after 10, and after the last.


def plan(output: Path, *names: str, **more: Any) -> Any:
    return make_plan({**RUN, "output_dir": str(output), "track": list(names), **more})


def run(output: Path, *names: str, **more: Any) -> tuple[dict[str, Any], Path]:
    result = engine.run(plan(output, *names, **more), TrackingReporter(-1))
    return result, engine.run_folder(plan(output, *names, **more).config).path


def expected(result: Mapping[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """What each name was told: rows by the number of tasks learned, the rest at the end; the losses are not known."""
    told: dict[str, list[tuple[int, float]]] = {}
    for number, row in enumerate(result["accuracy_matrix"]):
        for position, (task, value) in enumerate(zip(result["tasks"], row, strict=True), 1):
            told.setdefault(f"matrix/{position}-{task}", []).append((number, value))
    for group in ("metrics", "cost"):
        values = {name: value for name, value in result[group].items() if isinstance(value, int | float)}
        told |= {f"{group}/{name}": [(2, value)] for name, value in values.items()}
    return told


def check(found: Mapping[str, list[tuple[int, float]]], result: Mapping[str, Any]) -> None:
    """All numbers are there, and losses at the steps at which progress shows them, over both tasks."""
    assert [step for step, _ in found["train/loss"]] == [10, 12, 22, 24]
    assert all(0 < loss < 5 for _, loss in found["train/loss"])
    for name, told in expected(result).items():
        assert [at for at, _ in found[name]] == [at for at, _ in told], name
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in told], rel=1e-6), name
    assert set(found) - {"train/loss"} == set(expected(result))


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    return read


def in_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    read = events(folder)
    return {name: [(event.step, event.value) for event in read.Scalars(name)] for name in read.Tags()["scalars"]}


def test_tensorboard_has_all_of_a_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    result, folder = run(tmp_path, "tensorboard")
    check(in_tensorboard(folder), result)
    assert sorted(events(folder).Tags()["images"]) == ["curves", "matrix"]
    (settings,) = folder.glob("tensorboard/*/hparams.yml")
    assert "strategy: naive\n" in settings.read_text()
    assert json.loads((folder / "tracking.json").read_text()) == {"tensorboard": "tensorboard"}
    untold = engine.run(plan(tmp_path / "untold"), TrackingReporter(-1))
    assert untold["predictions_sha256"] == result["predictions_sha256"]
    # Overwritten, it is a new one.
    run(tmp_path, "tensorboard", overwrite=True)
    assert len(in_tensorboard(folder)["train/loss"]) == 4


class Stopping(TrackingReporter):
    """Asks the run to stop in its second task."""

    def start_task(self, label: str, steps: int, steps_done: int = 0) -> None:
        super().start_task(label, steps, steps_done)
        if " 2/2" in label:
            signal.raise_signal(signal.SIGINT)


def test_what_is_resumed_goes_on_where_it_was_told(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with pytest.raises(Interrupted):
        engine.run(plan(tmp_path, "tensorboard"), Stopping(-1))
    result, folder = run(tmp_path, "tensorboard")
    found = in_tensorboard(folder)
    # Stopped after step 1 of the second task, whose loss was told then: 13 of both tasks.
    assert [step for step, _ in found.pop("train/loss")] == [10, 12, 13, 23, 24]
    assert {name: [at for at, _ in told] for name, told in found.items()} == {
        name: [at for at, _ in told] for name, told in expected(result).items()
    }


def test_the_process_of_a_run_tells_trackers_itself(tmp_path: Path) -> None:
    """As with --jobs: who asked for the run is told all the same."""
    pytest.importorskip("tensorboard")
    messages, theirs = Pipe(duplex=False)
    their_answers, answers = Pipe(duplex=False)
    told: list[str] = []

    class Heard(Reporter):
        def step(self, step: int, texts: int, loss: float) -> None:
            told.append(f"step {step}")

        def row(self, label: str, names: Sequence[str], row: Sequence[float | None]) -> None:
            told.append(label)

    given = plan(tmp_path, "tensorboard")
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(receive, messages, answers, Heard(), lambda *_: None)
        sender = TrackingSender(theirs, their_answers, "cpu")
        sender.finish(run_one(given, sender))
        found = asked.result(timeout=30)
    check(in_tensorboard(found.folder), found.result)
    steps = ["step 10", "step 12"]
    assert told == ["before training", *steps, "after kitchen", *steps, "after station"]


@pytest.mark.slow
def test_runs_at_once_are_each_in_their_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    words = ["run", "--config", str(tmp_path / "run.yaml"), "--jobs", "2"]
    words += ["--strategy", "naive", "--strategy", "replay"]
    (tmp_path / "run.yaml").write_text(json.dumps({k: v for k, v in RUN.items() if k != "strategy"}))
    words += ["--track", "tensorboard", "--track", "wandb", "--output-dir", str(tmp_path / "out"), "-q"]
    assert main(words) == 0
    runs, _ = find_runs([tmp_path / "out"])
    assert sorted(each.result["strategy"] for each in runs) == ["naive", "replay"]
    for each in runs:
        check(in_tensorboard(each.folder), each.result)
        (file,) = each.folder.glob("wandb/offline-run-*/run-*.wandb")
        check(in_wandb(file)[0], each.result)


def test_what_would_stay_on_a_clusters_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("TRACKIO_DIR", "shared")
    trackers.check_on_nodes(["tensorboard", "wandb", "trackio"])
    with pytest.raises(InputError, match=r"--track mlflow with --on ray .*; set MLFLOW_TRACKING_URI to a place"):
        trackers.check_on_nodes(["wandb", "mlflow"])
    assert trackers.settings_of_trackers()["TRACKIO_DIR"] == "shared"


def test_mlflow_has_all_of_a_run_and_goes_on_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ENABLE_TELEMETRY", "false")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Interrupted):
        engine.run(plan(tmp_path, "mlflow"), Stopping(-1))
    result, folder = run(tmp_path, "mlflow")
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert json.loads((folder / "tracking.json").read_text()) == {"mlflow": found.info.run_id}
    assert found.info.run_name == "/".join(folder.parts[-3:])
    assert (found.data.params["strategy"], found.data.params["epochs"]) == ("naive", "1")
    histories = {name: client.get_metric_history(found.info.run_id, name) for name in found.data.metrics}
    told = {name: [(each.step, each.value) for each in history] for name, history in histories.items()}
    assert [step for step, _ in told.pop("train/loss")] == [10, 12, 13, 23, 24]
    assert told == expected(result)
    assert sorted(each.path for each in client.list_artifacts(found.info.run_id)) == ["curves.png", "matrix.png"]


def leveldb_records(content: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format, after wandb's own header of 7 bytes."""
    place, record, block = 7, b"", 2**15
    while place + 7 <= len(content):
        if block - place % block < 7:  # no room for a header: the next block
            place += block - place % block
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or a record's last part
            yield record
            record = b""


def in_wandb(file: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, str], set[str]]:
    """The numbers, the settings (as JSON) and the names of the pictures in a run's ``file``."""
    from wandb.proto import wandb_internal_pb2

    found, settings, images = dict[str, list[tuple[int, float]]](), dict[str, str](), set[str]()
    for content in leveldb_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        items = {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
        at = items["step"] if "step" in items else items.get("after_task", -1)
        for name, value in items.items():
            if name.endswith("._type") and value.startswith("images"):
                images.add(name.removesuffix("._type"))
            elif "/" in name:
                found.setdefault(name, []).append((at, value))
        settings |= {i.key: i.value_json for i in record.config.update}
    return found, settings, images


def test_wandb_offline_has_all_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    result, folder = run(tmp_path, "wandb")
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    found, settings, images = in_wandb(file)
    check(found, result)
    assert images == {"matrix", "curves"}
    assert settings["strategy"] == '"naive"'
    assert json.loads((folder / "tracking.json").read_text())["wandb"] == file.stem.removeprefix("run-")


@pytest.mark.slow
def test_wandb_offline_goes_on_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline each part has a file of its own, which `wandb sync` brings together by the run's name."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with pytest.raises(Interrupted):
        engine.run(plan(tmp_path, "wandb"), Stopping(-1))
    result, folder = run(tmp_path, "wandb")
    first, second = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda file: file.stat().st_mtime)
    name = json.loads((folder / "tracking.json").read_text())["wandb"]
    assert first.stem == second.stem == f"run-{name}"
    parts = [in_wandb(file) for file in (first, second)]
    told = {key: [*parts[0][0].get(key, []), *parts[1][0].get(key, [])] for key in {**parts[0][0], **parts[1][0]}}
    assert [step for step, _ in told.pop("train/loss")] == [10, 12, 13, 23, 24]
    assert {key: [at for at, _ in values] for key, values in told.items()} == {
        key: [at for at, _ in values] for key, values in expected(result).items()
    }
    assert parts[0][1]["strategy"] == '"naive"'


@pytest.mark.slow
def test_trackio_goes_on_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    with pytest.raises(Interrupted):
        engine.run(plan(tmp_path, "trackio"), Stopping(-1))
    begun = json.loads(next(tmp_path.rglob("tracking.json")).read_text())
    _, folder = run(tmp_path, "trackio")
    assert json.loads((folder / "tracking.json").read_text()) == begun
    from trackio.sqlite_storage import SQLiteStorage

    lines = SQLiteStorage.get_logs("clbench", begun["trackio"])
    assert [line["step"] for line in lines if "train/loss" in line] == [10, 12, 13, 23, 24]


def test_trackio_has_all_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    result, folder = run(tmp_path, "trackio")
    from trackio.sqlite_storage import SQLiteStorage

    name = json.loads((folder / "tracking.json").read_text())["trackio"]
    found: dict[str, list[tuple[int, float]]] = {}
    for line in SQLiteStorage.get_logs("clbench", name):
        for key, value in line.items():
            if "/" in key:
                found.setdefault(key, []).append((line["step"], value))
    check(found, result)


class Broken(trackers.Tracker):
    """Fails at the first loss."""

    def __init__(self) -> None:
        super().__init__(None, "broken", False)

    def tell_settings(self, settings: Mapping[str, Any]) -> None:
        print("chatter")

    def tell(self, values: Mapping[str, Any], axis: str, number: int) -> None:
        if axis == "step":
            raise OSError("the network\nis gone")


def test_a_tracker_that_fails_is_told_of_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(trackers.OPEN, "json", lambda _: Broken())  # a package that every Python has

    def unopened(_: trackers.Place) -> trackers.Tracker:
        raise RuntimeError("no account")

    monkeypatch.setitem(trackers.OPEN, "csv", unopened)
    result, _ = run(tmp_path, "json", "csv")
    assert result["status"] == "complete"
    printed = capsys.readouterr()
    assert printed.out == ""  # which is for answers
    lines = [line for line in printed.err.splitlines() if "left out from here on" in line]
    assert lines == [
        "warning: csv is left out from here on: RuntimeError: no account",
        "warning: json is left out from here on: OSError: the network is gone",
    ]


def test_what_cannot_be_tracked_is_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"unknown tracker 'tensorbord'; .*tensorboard"):
        trackers.check_trackers(["tensorbord"])
    monkeypatch.setattr(trackers, "is_installed", lambda _: False)
    with pytest.raises(InputError, match=r"--track mlflow needs mlflow, .*: pip install 'clbench\[mlflow\]'"):
        commands.planning.plan_runs({**RUN, "track": ["mlflow"]}, [], [], [], None)
    with pytest.raises(InputError, match=r"pip install 'clbench\[wandb\]'"):
        commands.notebook.run(
            **{k: v for k, v in RUN.items() if k != "strategy"}, strategies=["naive"], track=["wandb"],
            output_dir=str(tmp_path),
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_says_that_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    words = ["run", "--scenario", "toy", "--strategy", "naive", "--epochs", "1", "--output-dir", str(tmp_path), "-q"]
    words += [word for value in ("tasks=2", "train=24", "dev=3", "test=6") for word in ("--scenario-arg", value)]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--track", "tensorboard"]) == 0
    assert "tensorboard is told nothing: the run is finished; --overwrite runs it again" in capsys.readouterr().err
    assert not list(tmp_path.rglob("tensorboard"))
