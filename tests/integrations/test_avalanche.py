"""Avalanche's strategies on clbench's scenarios: what is refused, whether its loop learns what ours does, what is kept.

Where CI is set these tests run; elsewhere they are skipped without Avalanche.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from math import fsum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

if not os.environ.get("CI") and importlib.util.find_spec("avalanche") is None:
    pytest.skip("avalanche-lib is not installed", allow_module_level=True)

from clbench import plugins
from clbench.clock import Clock
from clbench.commands import describe, listing
from clbench.data import Example
from clbench.engine import engine
from clbench.engine.preparation import prepare
from clbench.engine.reporter import Reporter
from clbench.errors import InputError, RunError
from clbench.integrations.avalanche import catalogue as avalanche_catalogue
from clbench.integrations.avalanche.benchmark import avalanche_benchmark
from clbench.integrations.avalanche.model import (
    AvalancheModel,
    CandidateCrossEntropy,
    TaskAwareModel,
    stack_inputs,
    wrap,
)
from clbench.integrations.avalanche.recipe import Recipe, seeded
from clbench.integrations.avalanche.strategy import AvalancheStrategy
from clbench.learner import Learner
from clbench.plugins.plan import make_plan
from clbench.results.metrics import compute_metrics
from clbench.strategy import Strategy
from clbench.testing import check_strategy
from clbench.toolkit.evaluator import evaluate_all
from clbench.toolkit.training import Training
from tests.helpers import Run

EXPRESSIONS = {
    "AGEM": "patterns_per_exp=6, sample_size=6",
    "DER": "mem_size=8, batch_size_mem=4",
    "ER_ACE": "mem_size=8, batch_size_mem=4",
    "EWC": "ewc_lambda=10",
    "GDumb": "mem_size=9",
    "GEM": "patterns_per_exp=6",
    "LwF": "alpha=1, temperature=2",
    "MER": "mem_size=6, batch_size_mem=2, n_inner_steps=1",
    "MIR": "mem_size=8, subsample=4, batch_size_mem=2",
    "Replay": "mem_size=6",
    "SynapticIntelligence": "si_lambda=1",
}
SMALL = {"scenario_args": {"train": 9, "dev": 3, "test": 6}, "batch_size": 9, "dropout": 0.0}
PARAMETERS = 75_000  # of the model "tiny" on toy, rounded down


def expression(name: str) -> str:
    return f"avalanche.{name}({EXPRESSIONS.get(name, '')})"


def line_of(options: dict[str, Any], strategy: str) -> str:
    with pytest.raises(InputError) as caught:
        make_plan({**options, "strategy": strategy})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("avalanche.ewcc(ewc_lambda=1)", "'ewcc'; did you mean 'avalanche.EWC'? allowed: AGEM, "),
        ("avalanch.EWC(ewc_lambda=1)", "did you mean 'avalanche.NAME'?"),
        ("avalanche.EWC", "avalanche.EWC needs a value for 'ewc_lambda'"),
        (
            "avalanche.EWC(lamda=1)",
            "of avalanche.EWC: 'lamda'; did you mean 'ewc_lambda'? allowed: decay_factor,",
        ),
        ("avalanche.EWC(ewc_lambda='1')", "avalanche.EWC: ewc_lambda = '1' is not allowed"),
        ("avalanche.EWC(ewc_lambda=1, mode='x')", "avalanche.EWC refuses {'ewc_lambda': 1, 'mode': 'x'}: Mode must be"),
        (
            "avalanche.EWC(ewc_lambda=1, model=1)",
            "'model' of avalanche.EWC is set by clbench (--model); allowed: ewc",
        ),
        ("avalanche.Naive(train_mb_size=1)", "'train_mb_size' of avalanche.Naive is set by clbench (--batch-size)"),
        ("avalanche.PackNet", "avalanche.PackNet cannot be run here: it needs a model built for it; allowed: AGEM"),
        ("avalanche.Naive+replay", "'avalanche.Naive' cannot be stacked"),
    ],
)
def test_what_is_refused(toy: dict[str, Any], strategy: str, message: str) -> None:
    assert message in line_of(toy, strategy)


def test_without_avalanche_a_line_says_how_to_install_it(toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert line_of(toy, "avalanche.EWC(ewc_lambda=1)").endswith("pip install 'clbench[avalanche]'")


def test_a_missing_package_of_one_strategy_is_named(toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(avalanche_catalogue.NEEDED_PACKAGE, "Naive", "no_such_package")
    assert "avalanche.Naive needs the package 'no_such_package'" in line_of(toy, "avalanche.Naive")


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_with_whole_tasks_as_batches_its_loop_does_what_ours_does(run_toy: Callable[..., Run], setting: str) -> None:
    """Then both see the same batches: optimizer, schedule, clipping, loss and fresh state must agree."""
    options = {**SMALL, "epochs": 4, "warmup": 0.3, "max_grad_norm": 0.7, "setting": setting}
    (ours, our_folder), (theirs, their_folder) = (run_toy(s, **options) for s in ("naive", "avalanche.Naive"))
    assert theirs["accuracy_matrix"] == ours["accuracy_matrix"]
    one, other = our_folder.read_predictions(), their_folder.read_predictions()
    assert other["prediction"] == one["prediction"]
    assert other["confidence"] == pytest.approx(one["confidence"], abs=2e-4)
    first, last = (
        [c for row, c in zip(one["after_task"], one["confidence"], strict=True) if row == wanted][:6]
        for wanted in (1, 3)
    )
    assert np.abs(np.subtract(first, last)).max() > 0.02  # the tolerance means something
    assert theirs["cost"]["examples_seen"] == ours["cost"]["examples_seen"] == 3 * 4 * 9
    assert not their_folder.checkpoint.exists()


@pytest.mark.parametrize("name", sorted(avalanche_catalogue.strategies()))
def test_every_strategy_runs_and_is_recorded(run_toy: Callable[..., Run], name: str) -> None:
    package = avalanche_catalogue.NEEDED_PACKAGE.get(name)
    if package and importlib.util.find_spec(package) is None:
        with pytest.raises(InputError, match=f"avalanche.{name} needs the package '{package}'"):
            run_toy(expression(name), **SMALL)
        return
    result, folder = run_toy(expression(name), **SMALL)
    assert [len(row) for row in result["accuracy_matrix"]] == [3] * 4
    assert len(folder.read_predictions()["label"]) == 4 * 3 * 6
    confidences = np.reshape(folder.read_predictions()["confidence"], (4, 18))
    assert all(np.abs(confidences[row] - confidences[row + 1]).max() > 1e-4 for row in range(3))  # every task learned
    importances = {"EWC": 6, "MAS": 2}
    if name in importances:  # EWC: importances and weights of three tasks apart; MAS: one of each
        assert PARAMETERS * 4 * importances[name] < result["cost"]["stored_bytes"] < 76_000 * 4 * importances[name]
    if name == "Naive":
        assert result["cost"]["stored_bytes"] == 0
    if name == "Replay":
        assert result["cost"]["stored_bytes"] >= 6 * 16 * 8
        assert result["cost"]["examples_seen"] > 3 * 9


@pytest.mark.parametrize(("name", "setting"), [("LwF", "class"), ("Replay", "domain"), ("MAS", "class")])
def test_other_settings_run(run_toy: Callable[..., Run], name: str, setting: str) -> None:
    assert run_toy(expression(name), setting=setting, **SMALL)[0]["status"] == "complete"


def test_images_run(run_toy: Callable[..., Run]) -> None:
    options = {"scenario": "digits_seq", "scenario_args": {}, "limit": 20, "epochs": 1, "setting": "class"}
    result, _ = run_toy("avalanche.GDumb(mem_size=20)", **options)
    assert result["metrics"]["average_accuracy"] is not None


def second_task(options: dict[str, Any], strategy: str, seed: int) -> tuple[float, float, dict[str, Any]]:
    """How far the second task moves the weights, by how much the first one's loss rises, and the weights."""
    prepared = prepare(make_plan({**options, "strategy": strategy, "seed": seed}), Clock())
    learner, weights, losses = prepared.learner, [], []
    batch = learner.collate(prepared.tasks[0].train)
    for position, task in enumerate(prepared.tasks[:2]):
        learner.tasks_seen = position + 1
        prepared.strategy.train(learner, task, prepared.config)
        learner.model.eval()
        with torch.no_grad():
            losses.append(float(learner.example_losses(learner.logits(batch), batch).mean()))
        weights.append(copy.deepcopy(dict(learner.model.named_parameters())))
    moved = fsum(float((weights[1][name] - weights[0][name]).pow(2).sum().detach()) for name in weights[0])
    return moved, losses[1] - losses[0], weights[1]


@pytest.mark.slow
def test_the_penalty_of_ewc_shows(toy: dict[str, Any]) -> None:
    options = {**toy, "epochs": 8, "lr": 3e-3, "head_lr": 3e-2, "setting": "domain", "dropout": 0.0}
    options["scenario_args"] = {"train": 60, "dev": 3, "test": 3}
    for seed in range(3):
        moved, forgotten, weights = second_task(options, "avalanche.Naive", seed)
        held, kept, _ = second_task(options, "avalanche.EWC(ewc_lambda=1e7)", seed)
        assert held < 0.5 * moved
        assert kept < 0.5 * forgotten
    none, _, same = second_task(options, "avalanche.EWC(ewc_lambda=0)", seed)
    assert none == moved
    assert all(torch.equal(weights[name], same[name]) for name in weights)


@pytest.mark.slow
def test_the_penalty_of_synaptic_intelligence_shows(toy: dict[str, Any]) -> None:
    """Avalanche's own code keeps the weights under another name on a CPU, so that no lambda does anything."""
    options = {**toy, "epochs": 4, "setting": "domain", "dropout": 0.0}
    moved = {value: second_task(options, f"avalanche.SynapticIntelligence(si_lambda={value})", 0) for value in (1, 1e6)}
    assert moved[1e6][0] < 0.1 * moved[1][0]
    plugin = avalanche_catalogue.import_avalanche("training.plugins").SynapticIntelligencePlugin
    assert plugin.extract_weights.__module__.startswith("avalanche.")  # as it was


def test_naive_learns_and_forgets_in_its_loop(run_toy: Callable[..., Run]) -> None:
    options = {"scenario_args": {}, "epochs": 6, "lr": 1e-3, "head_lr": 1e-2, "batch_size": 16, "setting": "domain"}
    metrics = run_toy("avalanche.Naive", **options)[0]["metrics"]
    assert metrics["learning_accuracy"] > 0.6  # chance is a third
    assert metrics["forgetting"] > 0.1


def test_lwf_distils_each_old_task_among_its_own_labels(toy: dict[str, Any]) -> None:
    plan = make_plan({**toy, **SMALL, "strategy": "avalanche.LwF(alpha=0.5, temperature=2)"})
    prepared = prepare(plan, Clock())
    learner, strategy = prepared.learner, prepared.strategy.members[0][1]
    assert isinstance(strategy, AvalancheStrategy)
    for position in range(2):
        learner.tasks_seen = position + 1
        strategy.train(learner, prepared.tasks[position], prepared.config)
    method = next(plugin for plugin in strategy.inner.plugins if hasattr(plugin, "lwf")).lwf
    assert method.prev_classes_by_task == {0: {0, 1, 2}, 1: {3, 4, 5}}
    learner.model.eval()
    method.prev_model.eval()
    with torch.no_grad():
        learner.model.classifier.bias += torch.arange(9.0)  # type: ignore[operator, union-attr]
        batch = learner.collate(prepared.tasks[2].train)
        teacher, student = learner.logits(batch, method.prev_model.network), learner.logits(batch)
        expected = 0.0
        for columns in ([0, 1, 2], [3, 4, 5]):
            q, log_p = (teacher[:, columns] / 2).softmax(-1), (student[:, columns] / 2).log_softmax(-1)
            expected += 0.5 * float((q * (q.log() - log_p)).sum(-1).mean())
        inputs = stack_inputs(prepared.tasks[2].train, 16)
        strategy.inner.model.known_train_tasks_labels = {0, 1, 2}
        assert float(method(inputs, student, strategy.inner.model)) == pytest.approx(expected, rel=1e-4)
    assert expected > 0.05


def test_the_same_seed_gives_the_same_run(run_toy: Callable[..., Run], tmp_path: Path) -> None:
    options = {"seed": 3, "epochs": 2}
    one = run_toy(expression("AGEM"), **options)  # it draws from Python's and torch's generators
    random.seed(1)
    other = run_toy(expression("AGEM"), output=tmp_path, **options)
    assert one[1].read_predictions() == other[1].read_predictions()


def test_seeded_puts_the_random_states_back() -> None:
    def draw() -> list[float]:
        return [random.random(), np.random.rand(), float(torch.rand(()))]

    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    expected = draw()
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    with seeded(5, torch.device("cpu")):
        first = draw()
    assert draw() == expected
    with seeded(5, torch.device("cpu")):
        assert draw() == first != expected


def test_its_strategies_pass_the_checks_that_have_a_meaning_for_them(capfd: pytest.CaptureFixture[str]) -> None:
    results = check_strategy("avalanche.EWC(ewc_lambda=10.0)")
    assert len(results) == 14
    assert {result.name: (result.status, result.reason) for result in results if result.status != "ok"} == {
        "state_dict": ("skipped", "resumable is False, so an interrupted run starts again"),
        "aliases": ("skipped", "needs 'state_dict'"),
        "resume": ("skipped", "needs 'state_dict', 'aliases'"),
        "kept model": ("skipped", "needs 'state_dict', 'aliases', 'resume'"),
    }
    assert capfd.readouterr().err == ""


def test_what_goes_wrong_inside_is_one_line(run_toy: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"the loss of Naive is no number at step 2 of 4; .*smaller --lr"):
        run_toy("avalanche.Naive", lr=1e30, precision="fp32")
    with pytest.raises(InputError, match=r"'avalanche.Naive' cannot learn a batch in parts: accumulation = 2; "):
        run_toy("avalanche.Naive", accumulation=2)

    def fail(*_: Any, **__: Any) -> None:
        raise IndexError("no such thing")

    monkeypatch.setattr(avalanche_catalogue.find_strategy("Naive"), "training_epoch", fail)
    with pytest.raises(RunError, match=r"^avalanche.Naive failed in task 'kitchen': IndexError: no such thing$"):
        run_toy("avalanche.Naive", seed=9)


def test_fp16_is_refused(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner()
    learner.precision = "fp16"
    with pytest.raises(InputError, match="allowed: fp32, bf16"):
        plugins.build("strategy", "avalanche.Naive", {}).setup(learner)


def test_a_model_that_reads_padding_on_the_left_is_refused(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner()
    learner.padding_side = "left"
    with pytest.raises(InputError, match="BertForSequenceClassification reads padding on the left"):
        plugins.build("strategy", "avalanche.Naive", {}).setup(learner)


def test_the_version_of_avalanche_is_in_the_hash(toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    one = make_plan({**toy, "strategy": "avalanche.Naive"}).config
    assert list(one.plugin_hashes) == ["scenario:toy", "strategy:avalanche.Naive"]
    assert one.strategy == "avalanche.Naive"
    monkeypatch.setattr(avalanche_catalogue, "avalanche_version", lambda: "0.6.1")
    other = make_plan({**toy, "strategy": "avalanche.Naive"}).config
    assert one.hash8 != other.hash8


def test_describe_and_list_tell_of_it() -> None:
    told = describe.page("avalanche.EWC")
    for part in ("EWC of Avalanche 0.6", "Elastic Weight Consolidation", "ewc_lambda", "settings: task, domain, class"):
        assert part in told
    assert "train_mb_size" not in told
    assert "avalanche.NAME" in listing.list_rows("strategies", [], as_json=False)
    assert "avalanche.NAME" not in listing.list_rows("strategies", [], as_json=True)


def test_the_wrapper_reads_what_the_learner_reads(
    make_learner: Callable[..., Learner], make_examples: Callable[..., list[Example]]
) -> None:
    learner = make_learner()
    examples = make_examples(learner.labels, 5)
    examples[0]["input_ids"][-1] = 0  # the padding token inside a text is a token
    inputs = stack_inputs(examples, 12)
    assert inputs.shape == (5, 12)
    learner.model.eval()
    expected = learner.logits(learner.collate(examples))
    assert torch.allclose(wrap(learner)(inputs), expected, atol=1e-6)
    assert isinstance(wrap(learner), TaskAwareModel)
    assert type(wrap(make_learner("class"))) is AvalancheModel
    half = AvalancheModel(learner.model, precision="bf16")(inputs)
    assert half.dtype == torch.float32
    assert 0 < (half - expected).abs().max() < 0.2


@pytest.mark.parametrize(("setting", "columns"), [("task", (2, 3)), ("domain", (0, 1)), ("class", (0, 1, 2, 3))])
def test_the_loss_is_among_the_candidates(
    make_learner: Callable[..., Learner], setting: str, columns: tuple[int, ...]
) -> None:
    learner = make_learner(setting, tasks=3)
    learner.tasks_seen = 2
    logits = torch.randn(4, len(learner.labels.names), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor(learner.labels.columns[1] * 2)
    criterion = CandidateCrossEntropy(learner)
    expected = -torch.stack([logits[i, y] - logits[i, list(columns)].logsumexp(0) for i, y in enumerate(labels)])
    assert torch.allclose(criterion(logits, labels), expected.mean())
    criterion.reduction = "none"
    assert torch.allclose(criterion(logits, labels), expected)


def test_the_recipe_warms_up_decays_and_clips() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=0.8)
    recipe = Recipe(optimizer, warmup=0.5, max_grad_norm=1.0)
    model = SimpleNamespace(parameters=lambda: [weight])
    strategy = SimpleNamespace(dataloader=range(2), train_epochs=2, optimizer=optimizer, model=model, mb_y=[0, 0, 0],
                               loss=torch.zeros(1))  # fmt: skip
    for _ in range(2):  # a second task starts anew
        recipe.before_training_exp(strategy)
        rates = []
        for _ in range(2):
            recipe.before_training_epoch(strategy)
            for _ in range(2):
                weight.grad = torch.tensor([3.0, 4.0])
                recipe.before_update(strategy)
                rates.append(optimizer.param_groups[0]["lr"])
                recipe.after_training_iteration(strategy)
            recipe.after_training_epoch(strategy)
        assert rates == pytest.approx([0.4, 0.8, 0.8, 0.4])
        assert weight.grad is not None
        assert weight.grad.tolist() == pytest.approx([0.6, 0.8], abs=1e-5)
        assert recipe.seen == 12


def test_the_first_step_of_the_recipe_is_that_of_our_loop() -> None:
    """The groups of the optimizer, too, are formed as ours are."""
    options = {"scenario": "toy", "strategy": "naive", "device": "cpu", "weight_decay": 0.3}
    prepared = prepare(make_plan(options), Clock())
    learner, config = prepared.learner, prepared.config
    ours = Training(config, Strategy(), learner, prepared.tasks[0], prepared.tasks[0].train).optimizer.param_groups
    strategy = plugins.build("strategy", "avalanche.Naive", {})
    strategy._start(learner, config)
    for one, other in zip(ours, strategy.inner.optimizer.param_groups, strict=True):
        assert [id(p) for p in one["params"]] == [id(p) for p in other["params"]]
        assert (one["lr"], one["weight_decay"]) == (other["lr"], other["weight_decay"])


def test_accuracy_and_forgetting_agree_where_the_definitions_do(toy: dict[str, Any]) -> None:
    """Avalanche measures, with its own evaluation, the run that clbench measures."""
    metrics = avalanche_catalogue.import_avalanche("evaluation.metrics")
    plugin = avalanche_catalogue.import_avalanche("training.plugins").EvaluationPlugin(
        metrics.accuracy_metrics(experience=True, stream=True),
        metrics.forgetting_metrics(experience=True, stream=True),
        metrics.bwt_metrics(stream=True),
        loggers=[],
    )
    # In the setting domain every label is a candidate, so that Avalanche's plain argmax is our answer.
    plan = make_plan({**toy, "setting": "domain", "strategy": "naive"})
    prepared = prepare(plan, Clock())
    learner = prepared.learner
    learner.tasks_seen = 3
    _, tokenizer = load(plan)
    scenario = plugins.build("scenario", "toy", plan.config.scenario_args, setting="domain")
    benchmark = avalanche_benchmark(scenario, tokenizer, max_length=plan.config.max_length)
    optimizer = torch.optim.AdamW(learner.model.parameters(), lr=5e-3)
    inner = avalanche_catalogue.find_strategy("Naive")(
        model=wrap(learner), optimizer=optimizer, criterion=CandidateCrossEntropy(learner), train_mb_size=8,
        train_epochs=4, evaluator=plugin,
    )  # fmt: skip

    def row() -> list[float | None]:
        evaluations = evaluate_all(learner, plan.strategy, prepared.tests)
        return [None if evaluation is None else evaluation.score for evaluation in evaluations]

    matrix = [row()]
    torch.manual_seed(0)
    told: dict[str, float] = {}
    for experience in benchmark.train_stream:
        inner.train(experience, eval_streams=[])
        told = inner.eval(benchmark.test_stream)
        matrix.append(row())
        exact = [told[f"Top1_Acc_Exp/eval_phase/test_stream/Task000/Exp{task:03d}"] for task in range(3)]
        assert exact == pytest.approx(matrix[-1])
    ours = compute_metrics(matrix)
    assert told["Top1_Acc_Stream/eval_phase/test_stream/Task000"] == pytest.approx(ours["average_accuracy"])
    assert told["StreamBWT/eval_phase/test_stream"] == pytest.approx(ours["backward_transfer"])
    assert told["StreamForgetting/eval_phase/test_stream"] == pytest.approx(-ours["backward_transfer"])  # type: ignore[operator]
    assert told["ExperienceForgetting/eval_phase/test_stream/Task000/Exp000"] == pytest.approx(
        matrix[1][0] - matrix[3][0]  # type: ignore[operator]
    )
    assert ours["backward_transfer"] != 0


def load(plan: Any) -> tuple[Any, Any]:
    from clbench.models.loading import load_model

    loaded = load_model(plan.config, plan.tasks, 3, torch.device("cpu"))
    return loaded.model, loaded.tokenizer


def test_forgetting_differs_where_a_task_was_best_later() -> None:
    """On a matrix worked by hand: Avalanche subtracts from the accuracy right after learning, we from the best."""
    matrix = [[0.1, 0.1, 0.1], [0.6, 0.1, 0.1], [0.8, 0.9, 0.1], [0.5, 0.7, 0.8]]
    measure = avalanche_catalogue.import_avalanche("evaluation.metrics").Forgetting()
    for row, accuracies in enumerate(matrix[1:]):
        for task in range(row + 1):
            measure.update(task, accuracies[task], initial=task == row)
    theirs = measure.result()
    assert theirs == pytest.approx({0: 0.1, 1: 0.2})
    ours = compute_metrics(matrix)
    assert ours["backward_transfer"] == pytest.approx(-sum(theirs.values()) / 2)
    assert ours["forgetting"] == pytest.approx((0.3 + 0.2) / 2)


@pytest.mark.slow
def test_it_survives_a_torchvision_built_for_another_torch() -> None:
    """In a fresh process; with a CPU torch and torchvision's usual build, importing torchvision fails there."""
    code = """
    try:
        import torchvision
    except RuntimeError as error:
        assert "torchvision::nms" in str(error)
        print("mismatch")
    from clbench.plugins import make_plan
    print(make_plan({"scenario": "toy", "strategy": "avalanche.EWC(ewc_lambda=1)"}).config.strategy)
    from clbench.integrations.avalanche.model import AvalancheModel
    from transformers import BertForSequenceClassification
    """
    lines = [line.removeprefix("    ") for line in code.splitlines()]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    mismatched = torch.version.cuda is None and "+cu" in metadata.version("torchvision")
    assert done.stdout.split("\n")[-2] == "avalanche.EWC(ewc_lambda=1)"
    assert "mismatch" in done.stdout or not mismatched


def test_a_finished_run_is_read_back(run_toy: Callable[..., Run], toy: dict[str, Any]) -> None:
    result, folder = run_toy("avalanche.Naive", **SMALL)
    options = {**toy, **SMALL, "strategy": "avalanche.Naive", "output_dir": str(folder.path.parents[2])}
    assert engine.run(make_plan(options), Reporter()) == result
