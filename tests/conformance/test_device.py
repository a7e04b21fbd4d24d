"""Every strategy on the stand-in for a GPU: it gives the CPU's bits, and no step waits for the device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.device_double import MORE
from clbench import plugins
from clbench.cli import main
from clbench.conformance.checks import run_checks
from clbench.conformance.device_checks import DeviceChecks, on
from clbench.conformance.trials import Trials
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.plugins.plan import make_plan
from clbench.testing import check_strategy
from tests.conftest import TOY
from tests.helpers import RECIPE_STACKS, RECIPES, ROOT, slow

# Waits for the device in a step of training after a task's first; all others have none, and none uploads what it waits
# for. GEM's program is solved on the host.
WAITS = {"gem": 1}
# What would do too little in so few steps, or far more than they.
OTHERWISE = {
    "rwalk": "rwalk(interval=2)",
    "gdumb": "gdumb(epochs=2)",
    "ranpac": "ranpac(width=50)",
    "klda": "klda(width=50)",
}
NAMES = sorted(plugins.available("strategy"))
STRATEGIES = [slow(name) if name in RECIPES else OTHERWISE.get(name, name) for name in NAMES]
BESIDE = [more for more in MORE if more not in STRATEGIES]
# Two tasks of two steps each: the second task's second step has all that a step can have.
SMALL = {"tasks": 2, "epochs": 1}


@pytest.mark.parametrize("strategy", [*STRATEGIES, *BESIDE, *RECIPE_STACKS])
def test_a_strategy_gives_on_a_gpu_what_it_gives_on_the_cpu(strategy: str, tmp_path: Path) -> None:
    """Texts in one setting; the slow test takes the whole check: every setting, images too."""
    trials = Trials(strategy, tmp_path)
    assert trials.load() == ""
    trials.grounds = [ground for ground in trials.grounds if ground[0] == "toy"][-1:]
    checks = DeviceChecks(trials, **SMALL)
    assert checks.equal() == ""
    for ground, steps in checks.steps.items():
        assert max([step.waits.total() for step in steps], default=0) <= WAITS.get(strategy, 0), (ground, steps.lines())
        assert max([step.blocking.total() for step in steps], default=0) == 0, (ground, steps.lines())


def test_a_run_on_a_gpu_goes_on_from_everywhere(tmp_path: Path) -> None:
    """Cut off before, in and after each task: memories, teacher, Fisher and optimizer come back onto the device."""
    trials = Trials("der+distillation+ewc", tmp_path)
    assert trials.load() == ""
    trials.grounds = trials.grounds[:1]
    checks = DeviceChecks(trials, **SMALL)
    assert checks.resume() == ""


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("return torch.ones(8) @ self.scale", "FAILED", "found host tensors of"),
        ("return float(logits.detach().sum()) * self.scale.sum()", "warning", "1.0 item at"),
        ("return logits[:, [0, 1]].sum() * self.scale.sum()", "warning", "upload"),
    ],
)
def test_the_check_names_the_line_that_a_gpu_would_refuse_or_wait_at(
    tmp_path: Path, body: str, status: str, words: str
) -> None:
    lines = [
        '"""A penalty."""',
        "import torch",
        "from clbench import Strategy",
        "class Mine(Strategy):",
        '    settings = ("task",)',
        '    kinds = ("text",)',
        "    def setup(self, learner):",
        "        self.scale = torch.zeros(8, device=learner.device)",
        "    def loss(self, learner, batch, logits):",
        f"        {body}",
    ]
    file = tmp_path / "mine.py"
    file.write_text("\n".join(lines))
    (tmp_path / "runs").mkdir()
    trials = Trials(str(file), tmp_path / "runs")
    checks = DeviceChecks(trials, **SMALL)
    results = run_checks(
        [check for check in checks.all() if check.name != "device resume"], trials.files, lambda _: None
    )
    found = [result for result in results if result.status == status]
    assert found, results
    assert words in found[0].reason
    assert "mine.py" in found[0].reason
    assert "10" in found[0].reason


def test_another_device_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "naive", "--device", "doubel"]) == 2
    assert capsys.readouterr().err == "error: unknown device 'doubel'; did you mean 'double'? allowed: cpu, double\n"
    assert main(["check", "toy", "--device", "double"]) == 2
    assert "takes no --device" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [*NAMES, *MORE])
def test_built_in_strategies_pass_on_a_gpu(strategy: str) -> None:
    """The whole matrix: three tasks in every setting, cut off at every place."""
    results = {
        result.name: str(result) for result in check_strategy(strategy, device="double") if result.status != "ok"
    }
    assert set(results) <= ({"device waits"} if strategy in WAITS else set()), results


KILLED = """
import os, signal, sys
from clbench.conformance.device_checks import on
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.plugins.plan import make_plan
from clbench.toolkit import Training
from tests.conftest import TOY

options = {**TOY, "strategy": "er_ace+ema", "device": "cuda", "precision": "fp32", "checkpoint_every": 1, "epochs": 2}
steps, step = [], Training.run_step

def killed(training):
    step(training)
    steps.append(None)
    if len(steps) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

Training.run_step = killed
with on("cuda"):
    print(engine.run(make_plan({**options, "output_dir": sys.argv[1]}), Reporter())["predictions_sha256"])
"""


@pytest.mark.slow
def test_a_killed_process_on_a_gpu_is_resumed_to_the_cpus_predictions(tmp_path: Path) -> None:
    options = {**TOY, "strategy": "er_ace+ema", "precision": "fp32", "epochs": 2, "output_dir": str(tmp_path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "gpu")]
    for step in ("3", "5"):
        assert subprocess.run([*command, step], cwd=ROOT, check=False).returncode == -9
    done = subprocess.run([*command, "0"], cwd=ROOT, check=True, capture_output=True, text=True)
    with on("cpu"):
        there = engine.run(make_plan(options), Reporter())
    assert done.stdout.split()[-1] == there["predictions_sha256"]
