"""Runs on the stand-in for a GPU: they start, say what they ran on, are read back, and run out of memory in a line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clbench.cli import main
from clbench.commands.planning import plan_again
from clbench.data import Batch
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.errors import InputError, RunError
from clbench.learner import Learner
from clbench.models import deterministic, reset_peak_memory
from clbench.plugins.plan import Plan, make_plan
from clbench.rng import generator
from clbench.strategy import Stack, Strategy
from clbench.testing import as_cuda
from clbench.toolkit import diagonal_fisher
from tests.helpers import Examples, MakeLearner

SMALL: dict[str, Any] = {
    "scenario": "toy",
    "epochs": 1,
    "lr": 5e-3,
    "batch_size": 6,
    "scenario_args": {"train": 12, "dev": 3, "test": 6},
}
GPU = torch.device("cuda")


class Heard(Reporter):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, line: str) -> None:
        self.warnings.append(line)


class Probe(Strategy):
    """Fails in its ``step``; makes the loss too loud for fp16; notes whether determinism is on."""

    def __init__(self, fails_at: int = 0, loud: bool = False) -> None:
        self.fails_at, self.loud, self.steps = fails_at, loud, 0
        self.deterministic: set[bool] = set()

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        self.steps += 1
        self.deterministic.add(torch.are_deterministic_algorithms_enabled())
        if self.steps == self.fails_at:
            raise RuntimeError("here")
        return logits.sum() * 1e8 if self.loud else None


def run(output: Path, strategy: str = "naive", probe: Strategy | None = None, **options: Any) -> tuple[Any, Heard]:
    """The result and the warnings."""
    plan = make_plan({**SMALL, "strategy": strategy, "output_dir": str(output), **options})
    if probe is not None:
        plan = Plan(plan.config, plan.tasks, Stack([*plan.strategy.members, ("probe", probe)]))
    heard = Heard()
    return engine.run(plan, heard), heard


def test_a_run_on_a_numbered_gpu_says_what_it_ran_on_and_is_read_back_elsewhere(tmp_path: Path) -> None:
    """Before, it ended before training: "Invalid device argument"; on the CPU the GPU's result was read in silence."""
    probe = Probe()
    with as_cuda(count=2):
        result, heard = run(tmp_path, probe=probe, device="cuda:1", deterministic=True)
        assert probe.deterministic == {True}
        assert not heard.warnings or "ran on" not in " ".join(heard.warnings)
        again, heard = run(tmp_path, device="auto")
        assert (again, heard.warnings) == (result, [])
    assert not torch.are_deterministic_algorithms_enabled()
    assert [entry["device"] for entry in result["hardware"]] == ["pretended"]
    (folder,) = tmp_path.glob("toy/naive/*")
    assert json.loads((folder / "config.json").read_text())["device"] == "cuda:1"
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["hardware"]["device"] == environment["parts"][0]["device"] == "pretended"
    assert environment["variables"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    read, heard = run(tmp_path, device="cpu")
    assert read == result
    (line,) = heard.warnings
    assert f"the finished run in {folder} ran on pretended, not on cpu: its accuracies hold but for rounding" in line


def test_auto_is_recorded_as_what_it_came_to(tmp_path: Path) -> None:
    result, _ = run(tmp_path, device="auto")
    (folder,) = tmp_path.glob("toy/naive/*")
    assert json.loads((folder / "config.json").read_text())["device"] == "cpu"
    assert [entry["device"] for entry in result["hardware"]] == ["cpu"]


def test_a_run_that_goes_on_without_its_gpu_says_so(tmp_path: Path) -> None:
    with as_cuda(), pytest.raises(RuntimeError, match=r"^here$"):
        run(tmp_path, probe=Probe(fails_at=3), device="cuda")
    (folder,) = tmp_path.glob("toy/naive/*")
    plan, heard = plan_again(folder), Heard()
    assert plan.config.device == "cpu"
    result = engine.run(plan, heard)
    assert "begun on pretended, goes on with cpu: results may differ in the last digits" in heard.warnings[0]
    assert [entry["device"] for entry in result["hardware"]] == ["pretended", "cpu"]


def test_skipped_steps_of_fp16_are_told_and_recorded(tmp_path: Path) -> None:
    with as_cuda():
        result, heard = run(tmp_path, probe=Probe(loud=True), device="cuda", precision="fp16")
    assert result["skipped_steps"] == 6  # of 3 tasks of 2 steps
    assert len([line for line in heard.warnings if "2 steps were skipped, for their gradients" in line]) == 3
    (log,) = tmp_path.glob("toy/naive/*/log.jsonl")
    told = [entry for entry in map(json.loads, log.read_text().splitlines()) if entry["event"] == "skipped_steps"]
    assert [(entry["task"], entry["steps"]) for entry in told] == [("kitchen", 2), ("station", 2), ("market", 2)]


def test_a_run_on_the_cpu_starts_no_gpu(tmp_path: Path) -> None:
    """Before, each ``fork_rng()`` started every GPU and warned of it."""
    with as_cuda(count=2) as cuda, warnings.catch_warnings():
        warnings.simplefilter("error")
        for strategy in ("adapter", "ia3", "lora_sequential", "p_tuning_v2"):
            run(tmp_path, strategy, device="cpu", precision="fp32")
        assert not cuda.initialised


def test_the_clock_waits_for_the_runs_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from clbench.clock import Clock

    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *device: waited.append(device))
    for device in (None, torch.device("cpu"), torch.device("cuda:1")):
        with Clock(device=device).measure("train"):
            pass
    assert waited == [(torch.device("cuda:1"),)] * 2


def test_peak_memory_is_measured_anew_before_anything_ran() -> None:
    with as_cuda(count=2) as cuda:
        reset_peak_memory(torch.device("cuda:1"))  # without a number torch itself starts CUDA to find one
        assert cuda.initialised


def test_a_deterministic_fisher_takes_no_running_sum_on_the_gpu(
    make_learner: MakeLearner, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There torch refuses one."""
    learner, places, cumsum = make_learner(), [], Tensor.cumsum
    examples = make_examples(learner.labels, 4)
    expected = diagonal_fisher(learner, examples, "sampled", generator(0, "fisher"))

    def noted(values: Tensor, dim: int) -> Tensor:
        if values.is_floating_point():  # of whole numbers it is the same each time
            places.append(values.is_cuda)
        return cumsum(values, dim)

    monkeypatch.setattr(Tensor, "cumsum", noted)
    with as_cuda(), deterministic(GPU, wanted=True):
        learner.model.to("cuda")
        found = diagonal_fisher(learner, examples, "sampled", generator(0, "fisher"))
    assert places
    assert not any(places)
    assert all(torch.allclose(found[name].cpu(), value) for name, value in expected.items())


def test_what_has_no_deterministic_way_is_one_line() -> None:
    text = (
        "cumsum_cuda_kernel does not have a deterministic implementation, but you set "
        "'torch.use_deterministic_algorithms(True)'. You can turn off"
    )
    with pytest.raises(RunError) as told, deterministic(GPU, wanted=True):
        raise RuntimeError(text)
    line = "cumsum_cuda_kernel has no deterministic way on cuda; finished tasks are kept; run again without "
    assert str(told.value) == f"{line}--deterministic"
    assert not torch.are_deterministic_algorithms_enabled()
    for device, wanted in ((torch.device("cpu"), True), (GPU, False)):
        with deterministic(device, wanted):
            assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(("name", "kind"), [("mps", "Apple's GPU"), ("xpu:0", "Intel's GPU")])
def test_gpus_that_are_not_supported_are_named(name: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"device '{name}': {kind} .* is not supported yet; allowed: auto, cpu, cuda"):
        run(tmp_path, device=name)


def test_a_gpu_that_is_not_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("mps"))
    notes: list[str] = []

    class Noting(Reporter):
        def note(self, line: str) -> None:
            notes.append(line)

    engine.run(make_plan({**SMALL, "strategy": "frozen", "device": "auto", "output_dir": str(tmp_path)}), Noting())
    assert "Apple's GPU (MPS) is here and not used: it is not supported yet" in notes


EXHAUSTED = '''
"""Finds no memory in a hook of its second task."""
import torch
from clbench import Strategy

class Exhausted(Strategy):
    def __init__(self, hook: str) -> None:
        def fail(learner, *task):
            if learner.tasks_seen == 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
        setattr(self, hook, fail)
'''


@pytest.mark.parametrize("hook", ["after_step", "after_task"])
def test_memory_that_runs_out_anywhere_is_a_line_and_the_sweep_goes_on(
    hook: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "exhausted.py").write_text(EXHAUSTED)
    sizes = [part for key, value in SMALL["scenario_args"].items() for part in ("--scenario-arg", f"{key}={value}")]
    strategies = ["--strategy", f"{tmp_path / 'exhausted.py'}(hook={hook!r})", "--strategy", "frozen"]
    command = ["run", "--scenario", "toy", "--epochs", "1", "--device", "cpu", "-q", *sizes, *strategies]
    assert main([*command, "--output-dir", str(tmp_path / "out"), "--auto-batch"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "out of memory on cpu in task 'station'" in line
    assert "finished tasks are kept; try" in line
    assert len(list((tmp_path / "out").rglob("result.json"))) == 1
