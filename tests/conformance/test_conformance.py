"""Every built-in plug-in passes the conformance checks; that each check can fail, test_broken_* shows."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from clbench import plugins, sources
from clbench.cli import main
from clbench.conformance.kept import kept_difference
from clbench.conformance.probes import Probe, Trace
from clbench.conformance.trials import Record, Trials, difference, finish
from clbench.engine.interrupts import Interrupted
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.plugins.plan import Plan
from clbench.sources import images
from clbench.strategy import Stack
from clbench.testing import check_scenario, check_strategy
from tests.helpers import RECIPE_STACKS, RECIPES, slow

STRATEGIES = sorted(plugins.available("strategy"))
# The same code with less work than by default, which -m slow takes.
SMALLER = {"gdumb": "gdumb(epochs=2)", "ranpac": "ranpac(width=50)", "klda": "klda(width=50)"}
STACKS = ("replay+ewc", slow("replay+distillation"))
# One task with an official test file and one without.
# Their packages take long to read.
LARGE = (
    *("image_seq", "instruct_seq", "permuted_mnist", "split_cifar", "split_fashion_mnist", "split_mnist", "token_seq"),
    "wordnet_class",
)
SMALL = {"train": 40, "dev": 10, "test": 20}
SCENARIO_ARGUMENTS: dict[str, dict[str, Any]] = {
    "text_seq": {"train": 40, "dev": 20, "test": 40, "order": "reuters,movie"},
    "permuted_mnist": {"tasks": 2, **SMALL},
    **dict.fromkeys(("token_seq", "instruct_seq", "image_seq", "split_cifar", "split_mnist"), SMALL),
    "split_fashion_mnist": SMALL,
}


# Of each family one or two are checked by default, all with -m slow; on the stand-in for a GPU all run by default.
LIKE_OTHERS = {
    *("agem", "der", "ewc", "gdumb(epochs=2)", "progressive_prompts", "replay", "si"),  # a stack has ewc and replay
    *("alarm", "cumulative", "ema", "feature_distillation", "frozen", "gem", "ia3", "independent", "l2_anchor"),
    *("lora_incremental", "lora_merge", "lora_sequential", "mas", "o_lora", "p_tuning_v2", "prefix_tuning"),
    *("prompt_tuning", "rwalk", "seq_star"),
}

RECIPES_TOGETHER = (RECIPE_STACKS[0], *map(slow, RECIPE_STACKS[1:]))
SHORT = [SMALLER.get(name, name) for name in STRATEGIES]
ALONE = [slow(name) if name in RECIPES | LIKE_OTHERS else name for name in SHORT]


@pytest.mark.parametrize("strategy", [*ALONE, *map(slow, SMALLER), *STACKS, *RECIPES_TOGETHER])
def test_built_in_strategies_pass(strategy: str) -> None:
    results = check_strategy(strategy)
    assert [str(result) for result in results if result.status != "ok"] == []


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [SMALLER.get(name, name) for name in STRATEGIES])
def test_kept_models_of_every_kind_answer_as_the_run(strategy: str, tmp_path: Path) -> None:
    """What the check of kept models does on the first kind, on all others."""
    trials = Trials(strategy, tmp_path)
    assert trials.load() == ""
    for ground in trials.grounds:
        plan = trials.plan(ground, tasks=2, epochs=1, save_model="final")
        assert kept_difference(plan) == "", ground


SCENARIOS = [slow(name) if name in LARGE else name for name in sorted(plugins.available("scenario"))]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_built_in_scenarios_pass(scenario: str) -> None:
    needed = plugins.load("scenario", scenario).sources
    missing = [row["name"] for row in sources.source_rows() if row["name"] in needed and not row["cached"]]
    if missing:
        pytest.skip(f"not in the cache: {', '.join(missing)}")
    if scenario == "split_fashion_mnist" and not images.FASHION.is_dir():
        pytest.skip(f"Debian's package {images.DEBIAN} is not installed")
    results = check_scenario(scenario, SCENARIO_ARGUMENTS.get(scenario))
    assert [str(result) for result in results if result.status != "ok"] == []


def test_the_command_leaves_the_global_random_states_alone(capsys: pytest.CaptureFixture[str]) -> None:
    random.seed(7)
    torch.manual_seed(7)
    before = random.getstate(), torch.get_rng_state()
    assert main(["check", "toy"]) == 0
    assert "FAILED" not in capsys.readouterr().out
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("name", ["naiv", "./missing.py", "naive+", "ewc(lambda=3)"])
def test_what_cannot_be_checked_is_wrong_usage(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", name]) == 2
    assert capsys.readouterr().err.count("\n") == 1


class Signals(Probe):
    """Sends SIGTERM in every step once."""

    def __init__(self, done: set[str]) -> None:
        self.done = done

    def before_step(self, learner: Learner) -> None:
        place = f"{self.task} {self.step}"
        if place not in self.done:
            self.done.add(place)
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_stopped_by_a_signal_in_every_step_ends_as_the_uninterrupted_one(tmp_path: Path) -> None:
    """The other way into a checkpoint: it is asked for, and the step in progress is finished first."""
    trials = Trials("replay+ewc+distillation", tmp_path)
    assert trials.load() == ""
    reference, record, done = trials.run(trials.plan()), Record(), set[str]()
    stops: list[int] = []
    while True:
        plan = trials.plan(output_dir=str(tmp_path / "stopped"))
        members = [("strategy", plan.strategy), ("trace", Trace(record.weights)), ("signals", Signals(done))]
        try:
            finish(Plan(plan.config, plan.tasks, Stack(members)), record)
            break
        except Interrupted as interrupted:
            stops.append(interrupted.exit_code)
    # Each of the twelve steps stops the run; the last one of a task ends with its evaluation first.
    assert stops == [143] * 12
    assert difference(reference, record) == ""


def test_usage_errors_are_raised() -> None:
    with pytest.raises(InputError, match="did you mean 'replay'"):
        check_strategy("repley")
