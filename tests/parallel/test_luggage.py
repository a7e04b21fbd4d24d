"""What is sent to another machine arrives whole, and stands for the same run there."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import datasets
import pytest

from clbench import engine, plugins
from clbench.cli import main
from clbench.errors import InputError, RunError
from clbench.parallel.demands import Demand, check_demand, read_demand
from clbench.parallel.errand import FILES, HERE, Asked, Errand, is_visible, run_errand
from clbench.parallel.luggage import (
    bring_home,
    pack,
    pack_code,
    pack_folder,
    plugin_files,
    portable,
    unpack,
    unpacked_plugins,
)
from clbench.parallel.messages import FAILED, FINISHED
from clbench.plugins import Plan, make_plan
from clbench.presets import available_presets
from clbench.results import RunFolder
from clbench.scenario import Task
from tests.commands.test_side_by_side import SMALL, TOY, predictions

MINE = '''"""A plug-in of two files."""
from clbench import Strategy
from helping import nothing

class Mine(Strategy):
    def after_step(self, learner):
        nothing()
'''


def mine(folder: Path) -> str:
    folder.mkdir()
    (folder / "mine.py").write_text(MINE)
    (folder / "helping.py").write_text("def nothing():\n    return None\n")
    return str(folder / "mine.py")


def plan(strategy: str, folder: Path) -> Plan:
    return make_plan({**TOY, "strategy": strategy, "output_dir": str(folder)})


def test_the_code_that_travels_is_a_whole_package_with_its_plugins(tmp_path: Path) -> None:
    unpack(pack_code(), tmp_path)
    program = (
        "import clbench; from clbench import plugins; from clbench.report import page; from clbench.presets import "
        "available_presets; print(clbench.__file__); print(*sorted(plugins.available('strategy'))); "
        "print(*plugins.available('scenario').values()); print(len(available_presets()))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {program}"],
        capture_output=True, text=True, check=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    place, strategies, scenarios, presets = done.stdout.splitlines()
    assert place == str(tmp_path / "clbench" / "__init__.py")
    assert strategies.split() == sorted(plugins.available("strategy"))
    assert all(path.startswith(str(tmp_path)) for path in scenarios.split())
    assert int(presets) == len(available_presets())


def test_plugins_travel_with_the_files_that_they_reach(tmp_path: Path) -> None:
    file = mine(tmp_path / "here")
    config = plan(f"ewc+{file}", tmp_path / "results").config
    files = plugin_files(config)
    assert sorted(path.name for path in files.values()) == ["helping.py", "mine.py"]
    unpack(pack(files), tmp_path / "there")
    there = unpacked_plugins(config, tmp_path / "there")
    assert there["strategy:mine"].startswith(str(tmp_path / "there"))
    rebuilt = plugins.rebuild_strategy(config.strategy, there, config.plugin_hashes)
    assert [name for name, _ in rebuilt.members] == ["ewc", "mine"]


def test_own_data_are_no_code_to_be_sent(tmp_path: Path) -> None:
    rows = "".join(f"t{task},word{n} of {task},{'ab'[n % 2]}\n" for task in range(2) for n in range(40))
    (tmp_path / "tickets.csv").write_text(f"task,text,label\n{rows}")
    config = make_plan({"scenario": str(tmp_path / "tickets.csv"), "model": "tiny", "strategy": "naive"}).config
    assert plugin_files(config) == {}
    assert unpacked_plugins(config, tmp_path) == config.plugin_files


def test_rows_on_this_disk_travel_as_they_are(tmp_path: Path) -> None:
    """A table that was read from a file is pickled as the file's name, of which another machine knows nothing."""
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"text {n},{n % 2}\n" for n in range(6)))
    rows = datasets.load_dataset("csv", data_files=str(path), cache_dir=str(tmp_path / "cache"), split="train")
    assert rows.cache_files
    task = Task("t", "text", ("a", "b"), rows.select([4, 1]), rows, rows.select(range(0)))
    content = pickle.dumps(portable(task))
    for left in (tmp_path / "cache").rglob("*.arrow"):
        left.unlink()
    arrived = pickle.loads(content)
    assert arrived.train["text"][:] == ["text 4", "text 1"]
    assert arrived.dev["label"][:] == [0, 1, 0, 1, 0, 1]
    assert len(arrived.test) == 0


def test_a_runs_folder_comes_home_whole_or_not_at_all(tmp_path: Path) -> None:
    there, here = RunFolder(tmp_path / "there"), RunFolder(tmp_path / "home" / "run")
    there.write_config({"seed": 1, "output_dir": "/another/machine"})
    (there.path / "checkpoint").mkdir()
    (there.path / "checkpoint" / "state").write_bytes(b"12")
    for left in (".lock", ".holder", ".clbench-1.tmp"):
        (there.path / left).touch()
    (there.path / "link").symlink_to(tmp_path / "elsewhere.log")
    (tmp_path / "elsewhere.log").touch()
    here.create()
    (here.path / "old").touch()
    content = pack_folder(there.path)
    bring_home(content, here, tmp_path / "home")
    assert sorted(path.name for path in here.path.rglob("*")) == ["checkpoint", "config.json", "state"]
    assert here.read_config() == {"seed": 1, "output_dir": str(tmp_path / "home")}
    with pytest.raises(RunError, match="did not arrive whole"):
        bring_home(content[:3000], here, tmp_path / "home")
    assert (here.path / "checkpoint" / "state").read_bytes() == b"12"
    assert os.listdir(tmp_path / "home") == ["run"]


def test_shared_storage_is_found_out(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    assert not is_visible(probe, b"ours")
    probe.write_bytes(b"of another machine, where there is a folder of this name")
    assert not is_visible(probe, b"ours")
    probe.write_bytes(b"ours")
    assert is_visible(probe, b"ours")


def test_what_a_run_asks_of_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert read_demand((), "cpu", None) == Demand(1.0, 0.0)
    assert read_demand(("CPU=4", "big=1", "memory=2e9"), "cpu", None) == Demand(4.0, 0.0, 2e9, {"big": 1.0})
    assert read_demand((), "cuda:0", None) == Demand(1.0, 1.0)
    assert read_demand((), "cuda", 4) == Demand(1.0, 0.25)
    assert read_demand(("GPU=0.5",), "cpu", None).wanted() == {"CPU": 1.0, "GPU": 0.5}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert read_demand((), "cpu", None).threads == 3
    assert read_demand(("CPU=0.5",), "cpu", None).threads == 1


@pytest.mark.parametrize(
    ("resources", "jobs_per_gpu", "reason"),
    [
        (("CPU",), None, "--resources 'CPU' cannot be read; write K=V"),
        (("CPU=-1",), None, "--resources 'CPU=-1' cannot be read"),
        (("CPU=inf",), None, "--resources 'CPU=inf' cannot be read"),
        (("CPU=1", "CPU=2"), None, "--resources CPU is given twice"),
        (("GPU=1.5",), None, r"GPU=1\.5 is not allowed; allowed: 0 to 1, or a whole number"),
        (("GPU=1",), 2, "--jobs-per-gpu cannot be given with --resources GPU"),
        ((), 0, "--jobs-per-gpu 0 is not allowed"),
    ],
)
def test_a_demand_that_cannot_be_is_one_line(resources: tuple[str, ...], jobs_per_gpu: int | None, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_demand(resources, "cpu", jobs_per_gpu)


def test_how_many_runs_a_cluster_has_room_for() -> None:
    nodes = [{"CPU": 4.0}, {"CPU": 8.0, "GPU": 1.0}]
    assert check_demand(Demand(3.0), nodes) == 1 + 2
    assert check_demand(Demand(1.0, 0.25), nodes) == 4
    with pytest.raises(InputError, match=r"has CPU=2, GPU=2 for a run; the most that one has: CPU=8, GPU=1$"):
        check_demand(Demand(2.0, 2.0), nodes)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--on", "rey"], "did you mean 'ray'"),
        (["--address", "auto"], "--address says something of a cluster; give --on ray too"),
        (["--resources", "CPU=1"], "--resources says something of a cluster"),
        (["--on", "ray", "--jobs", "2"], "--jobs 2 cannot be given with --on ray"),
        (["--on", "ray", "--resources", "cores"], "--resources 'cores' cannot be read"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(
    options: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, "--strategy", "naive", "--output-dir", str(tmp_path), *options]) == 2
    err = capsys.readouterr().err
    assert reason in err
    assert err.count("\n") == 1


def test_without_ray_one_line_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*SMALL, "--strategy", "naive", "--output-dir", str(tmp_path), "--on", "ray"]) == 2
    err = capsys.readouterr().err
    assert err.endswith("pip install 'clbench[ray]'\n")
    assert err.count("\n") == 1


def answered(number: int | None) -> Future[int | None]:
    answer: Future[int | None] = Future()
    answer.set_result(number)
    return answer


def test_the_signal_is_asked_for_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("clbench.parallel.errand.time.monotonic", lambda: clock[0])
    asked: list[Future[int | None]] = []

    def ask() -> Future[int | None]:
        asked.append(Future())
        return asked[-1]

    found = Asked(ask)
    for clock[0] in (1.5, 14.0):
        assert found.signal() is None
        assert len(asked) == 1
    clock[0] = 16.0  # the answer was lost on its way
    assert found.signal() is None
    assert len(asked) == 2
    asked[1].set_result(None)
    clock[0] = 16.5
    assert found.signal() is None
    assert len(asked) == 2
    clock[0] = 17.5
    assert found.signal() is None
    assert len(asked) == 3
    asked[2].set_result(signal.SIGINT)
    assert found.signal() == signal.SIGINT
    lost = Asked(ask)
    asked[-1].set_exception(RuntimeError("the actor died"))
    assert lost.signal() == signal.SIGTERM


def errand(made: Plan, home: Path, probe: tuple[Path, bytes], **more: Any) -> Errand:
    fields: dict[str, Any] = {
        "config": made.config.model_copy(update={"output_dir": str(home)}), "notes": made.notes, "sources": (),
        "shared": None, "threads": 1, "plugins": pack(plugin_files(made.config)), "begun": None, "probe": probe,
        "again": False, "own_model": False, "places": (Path.cwd(), home / "no cache"), "command": ("clbench", "run"),
    }  # fmt: skip
    return Errand(**{**fields, **more})


@pytest.mark.slow
@pytest.mark.parametrize("visible", [True, False])
def test_an_errand_gives_what_the_run_gives_here(
    visible: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that happens on a node, without Ray: the files lie in place, or come back and name their home."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("CLBENCH_CACHE", os.environ.get("CLBENCH_CACHE", ""))
    file = mine(tmp_path / "here")
    made, home = plan(f"ewc(fisher_samples=4)+{file}", tmp_path / "alone"), tmp_path / "home"
    engine.run(made, engine.Reporter())
    home.mkdir()
    (home / "probe").write_bytes(b"ours")
    sent = errand(made, home, (home / "probe", b"ours" if visible else b"theirs"))
    told = list(run_errand(sent, pickle.dumps(tuple(made.tasks)), lambda: answered(None)))
    assert told[0][0] == HERE
    assert told[0][1][1] == visible
    assert "row" in [name for name, _ in told]
    name, (run,) = told[-1]
    folder = engine.run_folder(sent.config)
    assert (name, run.folder) == (FINISHED, folder.path)
    if not visible:
        assert not folder.path.exists()
        bring_home(next(values[0] for name, values in told if name == FILES), folder, home)
    assert predictions(home) == predictions(tmp_path / "alone")
    config = folder.read_config()
    assert (config["output_dir"], config["plugin_files"]) == (str(home), made.config.plugin_files)


@pytest.mark.slow
def test_an_errand_that_is_stopped_saves_its_state_and_another_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    made, home = plan("replay", tmp_path / "alone"), tmp_path / "home"
    engine.run(made, engine.Reporter())
    unseen = (tmp_path / "probe", b"")
    tasks = pickle.dumps(tuple(made.tasks))
    monkeypatch.setattr("clbench.parallel.errand.ASKED_EVERY", 0.01)
    told: list[Any] = []
    for message in run_errand(
        errand(made, home, unseen), tasks, lambda: answered(15 if any(name == "row" for name, _ in told) else None)
    ):
        told.append(message)
    (files,) = (values[0] for name, values in told if name == FILES)
    assert told[-1][0] == FAILED
    assert told[-1][1][0] == "Interrupted"
    again = list(run_errand(errand(made, home, unseen, begun=files), tasks, lambda: answered(None)))
    assert again[-1][0] == FINISHED
    folder = engine.run_folder(made.config.model_copy(update={"output_dir": str(home)}))
    bring_home(next(values[0] for name, values in again if name == FILES), folder, home)
    assert predictions(home) == predictions(tmp_path / "alone")
