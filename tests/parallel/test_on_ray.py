"""`run --on ray` on a real cluster of two nodes, one of which is killed; -m slow, where Ray is installed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from clbench import engine
from clbench.cli import main
from clbench.parallel import Demand, Sent, on_ray, ray_cluster
from clbench.plugins import make_plan
from clbench.results import find_runs, read_tracking, read_tuned
from clbench.tuning import rounds, study
from tests.commands.test_side_by_side import SMALL, TOY, predictions
from tests.commands.test_tracking import in_tensorboard
from tests.helpers import ROOT
from tests.tuning.test_tune import BOTH, tune

pytestmark = pytest.mark.slow
PLODS = '''"""Takes its time over a step."""
import time
from clbench import Strategy
from plod_helper import SECONDS

class Plods(Strategy):
    def after_step(self, learner):
        time.sleep(SECONDS)
'''


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of one node; where Ray must be there, CLBENCH_NEEDS_RAY says so."""
    if not os.environ.get("CLBENCH_NEEDS_RAY"):
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'clbench[ray]'")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.fixture
def plods(tmp_path: Path) -> str:
    """A plug-in of two files, whose runs take some seconds."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "plods.py").write_text(PLODS)
    (folder / "plod_helper.py").write_text("SECONDS = 0.3\n")
    return str(folder / "plods.py")


def kill_when_begun(cluster: Any, node: Any, folder: Path) -> threading.Thread:
    """Kill ``node`` as soon as two runs have saved a state under ``folder``."""

    def wait_and_kill() -> None:
        while len(list(folder.glob("**/checkpoint/manifest.json"))) < 2:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=wait_and_kill, daemon=True)
    thread.start()
    return thread


def alone(plods: str, folder: Path) -> dict[str, bytes]:
    """What the two runs give here, one after another, with one thread."""
    for name in (plods, f"ewc(fisher_samples=4)+{plods}"):
        options = {**TOY, "strategy": name, "output_dir": str(folder), "batch_size": 4}
        engine.run(make_plan(options), engine.Reporter())
    return predictions(folder)


def command(cluster: Any, plods: str, folder: Path) -> list[str]:
    return [
        *(*SMALL, "--batch-size", "4", "--checkpoint-every", "2", "--output-dir", str(folder), "--no-sharing", "-v"),
        *("--strategy", plods, "--strategy", f"ewc(fisher_samples=4)+{plods}", "--on", "ray"),
        *("--address", cluster.address, "--resources", "CPU=1"),
    ]


def test_a_lost_nodes_run_goes_on_elsewhere_from_its_checkpoint(
    cluster: Any, plods: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = cluster.add_node(num_cpus=1)
    killer = kill_when_begun(cluster, node, tmp_path / "ray")
    assert main(command(cluster, plods, tmp_path / "ray")) == 0
    killer.join(30)
    err = capsys.readouterr().err
    assert "up to 2 at once on 2 nodes of Ray's: CPU=1 each, 1 thread a run" in err
    assert "was lost; it goes on elsewhere from its last checkpoint, for the storage is shared" in err
    assert err.count(": resuming ") == 1
    assert len(alone(plods, tmp_path / "alone")) == 2
    assert predictions(tmp_path / "ray") == predictions(tmp_path / "alone")
    assert not list((tmp_path / "ray").glob(".clbench-*"))


def unseen(output: Path) -> tuple[Path, bytes]:
    """In place of ``write_probe``: no node sees the results folder."""
    return output / "on another machine", b""


def test_without_shared_storage_it_starts_again_and_all_files_come_back(
    cluster: Any, plods: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def noted(_: on_ray.OnRay, sent: Any) -> None:
        begun.append(str(sent))
        if len(begun) == 2:
            threading.Timer(3.0, cluster.remove_node, (node,), {"allow_graceful": False}).start()

    monkeypatch.setattr(on_ray, "write_probe", unseen)
    monkeypatch.setattr(on_ray.OnRay, "_note_begin", noted)
    node = cluster.add_node(num_cpus=1)
    assert main(command(cluster, plods, tmp_path / "ray")) == 0
    err = capsys.readouterr().err
    assert "was lost; it starts again elsewhere, for that node did not see this results folder" in err
    assert "resuming" not in err
    assert len(begun) == 3
    assert predictions(tmp_path / "ray") == alone(plods, tmp_path / "alone")
    (config,) = (tmp_path / "ray").glob("toy/plods/*/config.json")
    assert f'"output_dir": "{tmp_path / "ray"}"' in config.read_text()
    assert plods in config.read_text()
    assert not list((tmp_path / "ray").glob("**/*.new"))


def test_ctrl_c_saves_all_states_and_the_same_command_goes_on(
    cluster: Any, plods: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the two runs one has begun and the other one waits for a place."""
    given = command(cluster, plods, tmp_path / "ray")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = [sys.executable, "-m", "clbench", *given]
    process = subprocess.Popen(first, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "ray").rglob("checkpoint/manifest.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert "error: stopped; 0 of 2 runs are finished; give the same command again to go on" in err
    assert "Traceback" not in err
    assert not list((tmp_path / "ray").glob(".clbench-*"))
    assert main(given) == 0
    assert capsys.readouterr().err.count(": resuming ") == 1
    assert predictions(tmp_path / "ray") == alone(plods, tmp_path / "alone")


def test_what_trackers_were_told_on_a_node_comes_home(
    cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "write_probe", unseen)
    monkeypatch.setenv("WANDB_MODE", "offline")  # it goes along: else wandb would ask for a key
    given = [*SMALL, "--strategy", "naive", "--output-dir", str(tmp_path), "--track", "tensorboard", "--track", "wandb"]
    assert main([*given, "--on", "ray", "--address", cluster.address, "--resources", "CPU=1"]) == 0
    assert "left out" not in capsys.readouterr().err
    (run,), _ = find_runs([tmp_path])
    told = in_tensorboard(run.folder)
    matrix = run.result["accuracy_matrix"]
    assert [value for _, value in told["matrix/1-kitchen"]] == pytest.approx([row[0] for row in matrix])
    assert told["metrics/forgetting"][0][1] == pytest.approx(run.result["metrics"]["forgetting"])
    assert len(list((run.folder / "wandb").glob("offline-run-*/run-*.wandb"))) == 1
    assert set(read_tracking(run.folder)) == {"tensorboard", "wandb"}


def test_a_tuning_finds_what_it_finds_on_one_machine(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials that are pruned on their node among them."""
    monkeypatch.setattr(study, "RANDOM_TRIALS", 1)
    monkeypatch.setattr(rounds, "JUDGED_AFTER", 1)
    node = cluster.add_node(num_cpus=1)
    on_cluster = ("--on", "ray", "--address", cluster.address, "--resources", "CPU=1")
    for place, more in (("ray", on_cluster), ("alone", ())):
        (tmp_path / place).mkdir()
        assert tune(tmp_path / place, *BOTH, *more) == 0
    cluster.remove_node(node)
    found = read_tuned(tmp_path / "ray" / "tuned.yaml")
    assert found == read_tuned(tmp_path / "alone" / "tuned.yaml")
    assert "pruned" in {trial.state for entry in found.values() for trial in entry.tried}
    assert not list((tmp_path / "ray").rglob("checkpoint"))
    assert not list((tmp_path / "ray").rglob(".clbench-*"))


class SeenEnough(engine.Reporter):
    """Stops the run after its first task."""

    def row(self, label: str, names: Sequence[str], row: Sequence[float | None]) -> None:
        if label.startswith("after"):
            raise engine.Stopped(label)


def test_a_run_that_was_seen_enough_of_ends_on_its_node_and_leaves_nothing(
    cluster: Any, plods: str, tmp_path: Path
) -> None:
    plan = make_plan({**TOY, "strategy": plods, "output_dir": str(tmp_path), "batch_size": 4})
    with (
        ray_cluster(cluster.address) as ray,
        on_ray.OnRay(ray, Sent(Demand(), tmp_path), 1) as makers,
        pytest.raises(engine.Stopped, match="after kitchen"),
    ):
        makers.run(plan, SeenEnough())
    folder = engine.run_folder(plan.config)
    assert len((folder.path / "log.jsonl").read_text(encoding="utf-8").splitlines()) > 1  # it had begun
    assert not (folder.path / "result.json").exists()
    assert not folder.checkpoint.exists()


def test_what_no_node_has_is_refused(cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*SMALL, "--strategy", "naive", "--output-dir", str(tmp_path), "--on", "ray", "--address", cluster.address]
    assert main([*given, "--resources", "CPU=64"]) == 2
    assert "no node of the cluster has CPU=64 for a run; the most that one has: CPU=1\n" in capsys.readouterr().err
