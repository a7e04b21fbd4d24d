"""Losses that are no numbers, full and read-only disks, changed data and damaged files: one line, and nothing lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.cases import differences
from benchmarks.kills import only_folder
from clbench.cli import main
from clbench.results.folder import RunFolder
from tests.helpers import slow

# Breaks at a step of the second task while the file CAUSE is there.
STRATEGY = '''
"""Fails on demand."""

from pathlib import Path

from clbench import Strategy


class Fault(Strategy):
    def __init__(self, cause: str = "", what: str = "loss", step: int = 5) -> None:
        self.cause, self.what, self.step = Path(cause), what, step

    def setup(self, learner):
        self.due, self.count = False, 0

    def before_task(self, learner, task):
        self.due, self.count = task.name == "station" and self.cause.exists(), 0

    def loss(self, learner, batch, logits):
        self.count += 1
        return logits.sum() * float("nan") if self._now("loss") else None

    def before_step(self, learner):
        if self._now("gradient"):
            for _, parameter in learner.named_parameters():
                parameter.grad.mul_(float("inf"))

    def _now(self, what):
        return self.due and self.what == what and self.count == self.step

    def state_dict(self):
        return {"count": self.count, "due": self.due}

    def load_state_dict(self, state):
        self.count, self.due = state["count"], state["due"] and self.cause.exists()
'''
# 48 training sentences in batches of 16 are 3 steps an epoch, 6 a task.
SMALL = ["--batch-size", "16", "--epochs", "2", "--lr", "0.005", "--device", "cpu"]
SIZES = [f"--scenario-arg={size}" for size in ("train=48", "dev=12", "test=24")]

Cause = tuple[Path, Callable[..., list[str]]]


@pytest.fixture
def fault(tmp_path: Path) -> Cause:
    """The file that makes the strategy fail, and the arguments of a run into the folder of a name."""
    (tmp_path / "fault.py").write_text(STRATEGY)
    cause = tmp_path / "cause"
    cause.touch()

    def arguments(output: str = "results", **options: object) -> list[str]:
        given = ", ".join(f"{key}={value!r}" for key, value in {"cause": str(cause), **options}.items())
        named = ["--scenario", "toy", "--strategy", f"{tmp_path / 'fault.py'}({given})"]
        return ["run", *named, "--output-dir", str(tmp_path / output), *SMALL, *SIZES]

    return cause, arguments


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on stderr that tell of an error; there must be no traceback."""
    lines = capsys.readouterr().err.splitlines()
    assert not any("Traceback" in line for line in lines)
    return [line for line in lines if line.startswith("error: ")]


def folder_of(output: Path) -> RunFolder:
    folder = only_folder(output)
    assert folder is not None
    return folder


def test_a_loss_that_is_no_number_is_located_and_finished_tasks_are_kept(
    fault: Cause, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cause, arguments = fault
    assert main(arguments()) == 1
    (line,) = errors(capsys)
    assert "the loss is nan in task 'station' at step 5 (epoch 2, batch 2 of 3)" in line
    folder = folder_of(tmp_path / "results")
    rows = [json.loads(line) for line in (folder.path / "log.jsonl").read_text().splitlines()]
    assert [row["after_task"] for row in rows if row["event"] == "row"] == [0, 1]
    assert folder.read_result() is None
    cause.unlink()
    assert main(arguments()) == 0
    assert "resuming" in capsys.readouterr().err
    assert main(arguments("undisturbed")) == 0
    assert differences(folder_of(tmp_path / "undisturbed"), folder) == []


@pytest.mark.parametrize("step", [4, slow(6)])
def test_weights_that_are_no_numbers_are_neither_saved_nor_evaluated(
    step: int, fault: Cause, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cause, arguments = fault
    command = [*arguments(what="gradient", step=step), "--checkpoint-every", "2"]
    assert main(command) == 1
    (line,) = errors(capsys)
    assert f"a weight is not a finite number in task 'station' after step {step} of 6" in line
    cause.unlink()
    assert main(command) == 0
    assert "after 1 of 3 tasks" in capsys.readouterr().err
    assert main(arguments("undisturbed", what="gradient", step=step)) == 0
    found = differences(folder_of(tmp_path / "undisturbed"), folder_of(tmp_path / "results"))
    assert found == []


def fails_after(real: Callable[..., object], calls: int) -> Callable[..., object]:
    """``real`` that finds the disk full from a call on."""
    left = [calls]

    def call(*arguments: object, **keywords: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **keywords)

    return call


@pytest.mark.parametrize(
    ("place", "calls"),
    [
        slow("os.replace", 0),  # config.json
        slow("clbench.engine.checkpoint.write_tensors", 2),  # a checkpoint inside the first task
        ("os.fsync", 12),  # the disk is full from then on
        slow("os.rename", 2),  # the switch from one checkpoint to the next
    ],
)
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    place: str, calls: int, fault: Cause, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from clbench.engine import checkpoint

    cause, arguments = fault
    cause.unlink()
    command = [*arguments(), "--checkpoint-every", "2"]
    module, name = (checkpoint, "write_tensors") if "write_tensors" in place else (os, place.partition(".")[2])
    with monkeypatch.context() as patch:
        patch.setattr(module, name, fails_after(getattr(module, name), calls))
        assert main(command) == 1
    (line,) = errors(capsys)
    assert str(tmp_path / "results") in line
    assert "No space left on device" in line
    assert main(command) == 0
    assert ("resuming" in capsys.readouterr().err) == (calls > 0)
    assert main(arguments("undisturbed")) == 0
    assert differences(folder_of(tmp_path / "undisturbed"), folder_of(tmp_path / "results")) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 900 KiB: room for one checkpoint of this model inside a task, not for two."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full_or_read_only(disk: Path, fault: Cause, capsys: pytest.CaptureFixture[str]) -> None:
    cause, arguments = fault
    cause.unlink()
    command = [*arguments("disk"), "--checkpoint-every", "2"]
    assert main(command) == 1
    (line,) = errors(capsys)
    assert str(disk) in line
    assert "No space left on device" in line
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert main(command) in (1, 2)
    (line,) = errors(capsys)
    assert str(disk) in line
    assert "Read-only file system" in line
    subprocess.run(["mount", "-o", "remount,rw,size=20m", str(disk)], check=True)
    assert main(command) == 0
    assert "resuming" in capsys.readouterr().err


SCENARIO = '''
"""Tasks from a CSV file."""

from clbench import Scenario
from clbench.tasks import read_csv_tasks


class Tickets(Scenario):
    defaults = {"model": "tiny"}

    def __init__(self, *, seed: int = 0, setting: str = "task", path: str = "") -> None:
        super().__init__(seed=seed, setting=setting)
        self.path = path

    def tasks(self):
        return read_csv_tasks(self.path, self.seed)
'''


def test_data_that_changed_between_two_parts_of_a_run_is_named(
    fault: Cause, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cause, arguments = fault
    tickets = [
        (task, f"{task} {label} {n}", label) for task in ("router", "station") for label in "ab" for n in range(20)
    ]
    data = tmp_path / "tickets.csv"
    original = "\n".join(["task,text,label", *map(",".join, tickets)])
    data.write_text(original)
    (tmp_path / "tickets.py").write_text(SCENARIO)
    strategy = arguments(step=1)[4]
    named = ["--scenario", str(tmp_path / "tickets.py"), "--scenario-arg", f"path={data}", "--strategy", strategy]
    command = ["run", *named, "--output-dir", str(tmp_path / "results"), *SMALL]
    assert main(command) == 1
    cause.unlink()
    capsys.readouterr()
    (stopped,) = (tmp_path / "results").glob("*/*/*")
    data.write_text(original.replace("station a 7", "station a 700"))
    assert main(["resume", str(stopped)]) == 2
    (line,) = errors(capsys)
    assert "other contents: its data changed since" in line
    assert main(command) == 0
    assert "resuming" not in capsys.readouterr().err, "other data are another run"
    assert not (stopped / "result.json").exists()
    data.write_text(original)
    assert main(command) == 0
    assert "resuming" in capsys.readouterr().err


def test_a_model_that_changed_between_two_parts_of_a_run_is_named(
    fault: Cause, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    cause, arguments = fault
    model = tmp_path / "model"
    settings = BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    torch.manual_seed(1)
    BertModel(settings).save_pretrained(model)
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "apple", "river"]))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(model)
    command = [*arguments(), "--model", str(model)]
    assert main(command) == 1
    cause.unlink()
    capsys.readouterr()
    shutil.copytree(model, tmp_path / "original")
    torch.manual_seed(2)
    BertModel(settings).save_pretrained(model)
    (stopped,) = (tmp_path / "results").glob("*/*/*")
    assert main(["resume", str(stopped)]) == 2
    (line,) = errors(capsys)
    assert "other contents: its model changed since" in line
    assert main(command) == 0
    assert "resuming" not in capsys.readouterr().err, "another model is another run"
    shutil.rmtree(model)
    shutil.copytree(tmp_path / "original", model)
    assert main(command) == 0
