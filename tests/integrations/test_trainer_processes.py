"""A Trainer's script under torchrun: two processes learn what one learns with batches twice as large; refusals."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from clbench.clock import Clock
from clbench.engine.preparation import Prepared, prepare
from clbench.integrations.trainer import ContinualLearning
from clbench.integrations.trainer.processes import check_processes
from clbench.models import ranks
from clbench.plugins import build_strategies, make_plan
from clbench.results import find_runs
from tests.helpers import ROOT
from tests.integrations.test_trainer import OPTIONS, Rows, line, make_trainer
from tests.integrations.test_trainer_resume import equal

STACK = "replay(memory_size=9, replay_batch_size=3)+ewc(ewc_lambda=10)"  # 11 rows a step, in parts of 6 and 5
# A memory with a penalty, importances along the path and of outputs, stored outputs, gradients taken twice,
# projections; modules of PEFT's.
EXPRESSIONS = (
    "naive",
    STACK,
    "distillation+replay",
    "si",
    "mas",
    "der",
    "sam+rwalk",
    "agem",
    "gem",
    "er_ace+ema",
    "lora:replay+ewc",
)


def run_script(folder: Path, processes: int, batch: int, *expressions: str, kill: int = 0) -> tuple[int, str]:
    """`tests.integrations.trainer_script` as torchrun or python starts it: exit code and stderr."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", f"--master-port={port}"]
    script = ["-m", "tests.integrations.trainer_script", str(folder), str(batch), str(kill), *expressions]
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), *script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return done.returncode, done.stderr


def ends(folder: Path, expression: str, processes: int) -> list[dict[str, Any]]:
    own = folder / expression.replace("(", "-").replace(")", "")
    return [torch.load(own / f"process-{number}.pt", weights_only=False) for number in range(processes)]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """Losses, weights and every cell to 1e-4, also where both accumulate; states of the strategy alike in both.

    By SGD: AdamW divides gradients by their size, and makes full steps of those that are all rounding.
    """
    for place, processes, batch in (("one", 1, 8), ("two", 2, 4), ("parts", 2, 2)):
        code, said = run_script(tmp_path / place, processes, batch, *EXPRESSIONS)
        assert code == 0, said
    for expression in EXPRESSIONS:
        (alone,) = ends(tmp_path / "one", expression, 1)
        start, end = alone["after"]
        assert max((end[name] - value).abs().max() for name, value in start.items()) > 1e-3
        for place in ("two", "parts"):
            first, second = ends(tmp_path / place, expression, 2)
            for key in first:
                assert equal(first[key], second[key]), (expression, key)
            for key in ("losses", "after", "logged"):
                torch.testing.assert_close(first[key], alone[key], atol=1e-4, rtol=0)
            for row, other in zip(first["result"]["accuracy_matrix"], alone["result"]["accuracy_matrix"], strict=True):
                assert row == pytest.approx(other, abs=1e-4)
            for key in ("examples_seen", "stored_bytes"):
                assert first["result"]["cost"][key] == alone["result"]["cost"][key]
            (run,), skipped = find_runs([tmp_path / place / expression.replace("(", "-").replace(")", "") / "out"])
            assert (skipped, run.config["trainer"]["world_size"]) == ([], 2)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_in_sft_trainer(tmp_path: Path) -> None:
    """Losses, adapters and every cell of three instruction tasks to 1e-4; the last batch of a task is half as large."""
    pytest.importorskip("trl", reason="the extra trl is not installed")
    expressions = ("sft:naive", f"sft:{STACK}")
    for place, processes, batch in (("one", 1, 4), ("two", 2, 2)):
        code, said = run_script(tmp_path / place, processes, batch, *expressions)
        assert code == 0, said
    for expression in expressions:
        (alone,), (first, second) = ends(tmp_path / "one", expression, 1), ends(tmp_path / "two", expression, 2)
        assert equal(first["after"], second["after"])
        for key in ("losses", "after"):
            torch.testing.assert_close(first[key], alone[key], atol=1e-4, rtol=0)
        assert first["result"]["accuracy_matrix"] == alone["result"]["accuracy_matrix"]
        moved = [(alone["after"][2][name] - value).abs().max() for name, value in alone["after"][0].items()]
        assert max(moved) > 1e-3


@pytest.mark.slow
def test_two_processes_go_on_where_they_were_killed(tmp_path: Path) -> None:
    """In the second task after its third step, from the Trainer's checkpoint of the second; to the bit."""
    assert run_script(tmp_path / "whole", 2, 4, STACK)[0] == 0
    assert run_script(tmp_path / "killed", 2, 4, STACK, kill=3)[0] != 0
    code, said = run_script(tmp_path / "killed", 2, 4, STACK)
    assert code == 0, said
    whole, killed = ends(tmp_path / "whole", STACK, 2), ends(tmp_path / "killed", STACK, 2)
    for expected, found in zip(whole, killed, strict=True):
        assert equal(found["after"][-1], expected["after"][-1])
        assert equal(found["losses"], expected["losses"][1:])
        assert equal(found["strategy"], expected["strategy"])
        for key in ("accuracy_matrix", "config_sha256", "predictions_sha256"):
            assert found["result"][key] == expected["result"][key]


@pytest.mark.slow
def test_processes_with_other_data_end_with_the_reason(tmp_path: Path) -> None:
    code, said = run_script(tmp_path, 2, 4, "naive", kill=-1)
    assert code != 0
    assert said.count("InputError: task 'film': processes 0 and 1 have other data or another order; allowed:") == 2


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    plan = make_plan({**OPTIONS, "setting": "domain", "strategy": "naive", "output_dir": str(tmp_path)})
    return prepare(plan, Clock())


def test_what_several_processes_cannot_do_is_refused(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(prepared, 0, tmp_path, ordered=False)
    learning, rows = ContinualLearning("naive", str(tmp_path)), Rows(prepared.tests[0])
    said = line(lambda: _attach_as_two(learning, trainer, rows, monkeypatch))
    assert said.startswith("task 'one': processes 0 and 1 have other data or another order")
    for name, wrong, allowed in (
        ("even_batches", False, True),
        ("split_batches", True, False),
        ("dispatch_batches", True, False),
    ):
        right = getattr(trainer.args.accelerator_config, name)
        setattr(trainer.args.accelerator_config, name, wrong)
        said = line(lambda: _attach_as_two(learning, trainer, rows, monkeypatch))
        assert said.startswith(f"{name} = {wrong} does not work with ContinualLearning; allowed: {allowed}: ")
        setattr(trainer.args.accelerator_config, name, right)
    monkeypatch.setattr(ranks, "count", lambda: 2)
    _, members = build_strategies("naive", {}, {}, {})
    monkeypatch.setattr(members[0][1], "accumulates", False)
    assert "'naive' cannot learn a batch in parts, one for each of 2" in line(lambda: check_processes(trainer, members))
    trainer.model.odd = torch.nn.BatchNorm1d(2)
    assert "the model's 'odd' is a batch norm" in line(lambda: check_processes(trainer, []))
    monkeypatch.setattr(type(trainer), "compute_loss", lambda *_: None)
    assert "Trainer.compute_loss does not say whether" in line(lambda: check_processes(trainer, []))


def _attach_as_two(learning: ContinualLearning, trainer: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this was the first of two processes, of which the other has other data."""
    with monkeypatch.context() as two:
        two.setattr(ranks, "count", lambda: 2)
        two.setattr(ranks, "gathered", lambda own: [own, "another"])
        two.setattr(type(trainer.args), "world_size", 2)
        learning.attach(trainer, task="one", test=rows)
