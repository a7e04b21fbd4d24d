"""Classifiers on frozen features: each against a closed form or another implementation, in any order of tasks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from torch import Tensor

from clbench import plugins
from clbench.errors import InputError, RunError
from clbench.learner import Learner
from clbench.rng import generator
from clbench.toolkit.frozen_features import Moments, collect_features, linear_discriminant, logits_and_features
from tests.helpers import Examples, MakeLearner, RunToy, slow, strategy, task_data

# Small, so that a test is quick; shrinkage high enough for few examples.
PROTOTYPES: dict[str, dict[str, Any]] = {
    "ncm": {},
    "slda": {"shrinkage": 0.1},
    "ranpac": {"width": 20},
    "klda": {"width": 20, "gamma": 0.05, "shrinkage": 0.1},
}
VARIANTS = [*PROTOTYPES.items(), ("ncm", {"metric": "cosine"}), ("ranpac", {"width": 20, "ridge": 0.5})]


def gaussians(counts: Sequence[int], features: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Examples of each label about a mean of its own, with correlated features; fp64."""
    stream = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, dtype=torch.float64, generator=stream)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    means = 2 * torch.randn(len(counts), features, dtype=torch.float64, generator=stream)
    noise = torch.randn(len(labels), features, dtype=torch.float64, generator=stream) @ mixing
    order = torch.randperm(len(labels), generator=stream)
    return (means[labels] + noise)[order], labels[order]


def scores(built: Any, features: Tensor) -> Tensor:
    weights, biases = built.solve(built.moments)
    found: Tensor = built.transform(features) @ weights.T + biases
    return found


def learned(name: str, learner: Learner, features: Tensor, labels: Tensor, **arguments: Any) -> Any:
    """The strategy after one task of these examples."""
    built = strategy(name, learner, **arguments)
    built.add(built.transform(features), labels, task_data(learner, 0, []))
    return built


# --- features and moments


def test_the_mean_is_over_a_texts_own_tokens(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    learner.model.eval()
    examples = make_examples(learner.labels, 6)
    for number, example in enumerate(examples):
        example["input_ids"] = torch.arange(4, 7 + number)
    together = logits_and_features(learner, learner.collate(examples), "mean")
    body: Any = learner.model
    for number, example in enumerate(examples):
        with torch.no_grad():
            states = body.bert(example["input_ids"][None]).last_hidden_state[0]
        assert together[1].dtype == torch.float64
        torch.testing.assert_close(together[1][number].float(), states.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together[0], learner.logits(learner.collate(examples)))


def test_the_mean_is_found_inside_pefts_wrapper(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("class")
    learner.model.eval()
    batch = learner.collate(make_examples(learner.labels, 6))
    plain = logits_and_features(learner, batch, "mean")
    strategy("lora_per_task", learner, rank=2)  # modules that have learned nothing
    learner.model.eval()
    wrapped = logits_and_features(learner, batch, "mean")
    assert torch.equal(wrapped[0], plain[0])
    assert torch.equal(wrapped[1], plain[1])


def test_collected_features_belong_to_their_labels_and_dropout_is_off(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner = make_learner(dropout=0.5)
    learner.model.train()
    examples = make_examples(learner.labels, 7)
    features, labels = collect_features(learner, examples, "output_layer")
    found = {tuple(row.tolist()): int(label) for row, label in zip(features.float(), labels, strict=True)}
    for example in examples:
        single = learner.logits_and_features(learner.collate([example]))[1][0].detach()
        nearest = min(found, key=lambda row: float((torch.tensor(row) - single).abs().max()))
        torch.testing.assert_close(torch.tensor(nearest), single, rtol=1e-5, atol=1e-5)
        assert found[nearest] == example["label"]


def test_moments_give_means_and_the_covariance_about_them() -> None:
    features, labels = gaussians((9, 4, 0, 6))
    moments = Moments.of_nothing(4, 5, torch.device("cpu"))
    for part in torch.arange(len(labels)).chunk(3):
        moments.add(features[part], labels[part])
    assert moments.counts.tolist() == [9, 4, 0, 6]
    assert moments.seen.tolist() == [True, True, False, True]
    for label in (0, 1, 3):
        torch.testing.assert_close(moments.means[label], features[labels == label].mean(0))
    assert not moments.means[2].any()
    centred = features - moments.means[labels]
    torch.testing.assert_close(moments.within_covariance(), centred.T @ centred / 19)


# --- formulas


def test_ncm_takes_the_nearest_mean(make_learner: MakeLearner) -> None:
    learner = make_learner("class")
    features, labels = gaussians((5, 6, 7, 8))
    built = learned("ncm", learner, features, labels)
    means = torch.stack([features[labels == label].mean(0) for label in range(4)])
    points = gaussians((5, 5), seed=1)[0]
    expected = (-torch.cdist(points, means).square()).softmax(-1)
    torch.testing.assert_close(scores(built, points).softmax(-1), expected)


def test_ncm_with_the_cosine_by_hand(make_learner: MakeLearner) -> None:
    """Unit vectors (1, 0) and (0, 1) have the mean direction (1, 1) / √2, whatever the lengths."""
    learner = make_learner("class", tasks=1)
    features = torch.tensor([[10.0, 0.0], [0.0, 0.1], [-3.0, 0.0]], dtype=torch.float64)
    built = learned("ncm", learner, features, torch.tensor([0, 0, 1]), metric="cosine")
    points = torch.tensor([[5.0, 5.0], [2.0, 0.0]], dtype=torch.float64)
    half = math.sqrt(0.5)
    expected = torch.tensor([[1.0, -half], [half, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(scores(built, points), expected)


@pytest.mark.parametrize("shrinkage", [1e-3, 0.3, 1.0])
def test_slda_is_sklearns_linear_discriminant_analysis(make_learner: MakeLearner, shrinkage: float) -> None:
    # sklearn weights the labels' covariances by the priors; with as many examples of each that is the pooled one.
    features, labels = gaussians((12, 12, 12, 12))
    built = learned("slda", make_learner("class"), features, labels, shrinkage=shrinkage)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=[0.25] * 4)
    reference.fit(features.numpy(), labels.numpy())
    points = gaussians((5, 5), seed=1)[0]
    expected = torch.from_numpy(reference.predict_proba(points.numpy()))
    torch.testing.assert_close(scores(built, points).softmax(-1), expected)


def test_slda_pools_the_covariance_over_all_examples(make_learner: MakeLearner) -> None:
    features, labels = gaussians((30, 4, 9, 2))
    built = learned("slda", make_learner("class"), features, labels, shrinkage=0.2)
    means = torch.stack([features[labels == label].mean(0) for label in range(4)])
    covariance = (features - means[labels]).T @ (features - means[labels]) / 45
    inverse = torch.linalg.inv(0.8 * covariance + 0.2 * covariance.diagonal().mean() * torch.eye(5))
    points = gaussians((5, 5), seed=1)[0]
    expected = points @ inverse @ means.T - 0.5 * torch.einsum("lf,fg,lg->l", means, inverse, means)
    torch.testing.assert_close(scores(built, points), expected)


def test_one_example_a_label_leaves_slda_the_nearest_mean(make_learner: MakeLearner) -> None:
    features, labels = gaussians((1, 1, 1, 1))
    learner = make_learner("class")
    points = gaussians((20,), seed=1)[0]
    found = [scores(learned(name, learner, features, labels), points).argmax(-1).tolist() for name in ("slda", "ncm")]
    assert found[0] == found[1]


def test_a_covariance_that_cannot_be_inverted_is_one_line() -> None:
    features, labels = gaussians((2, 2), features=8)
    moments = Moments.of_nothing(2, 8, torch.device("cpu"))
    moments.add(features, labels)
    with pytest.raises(RunError, match=r"shrinkage=1e-30 leaves a covariance of 8 features that cannot be inverted"):
        linear_discriminant(moments, 1e-30)


@pytest.mark.parametrize("ridge", [0.01, 10.0])
def test_ranpac_is_ridge_regression_on_the_projection(make_learner: MakeLearner, ridge: float) -> None:
    features, labels = gaussians((15, 10, 5, 8))
    built = learned("ranpac", make_learner("class"), features, labels, width=12, ridge=ridge)
    projection = torch.randn(5, 12, dtype=torch.float64, generator=generator(0, "random projection"))
    inputs = (features @ projection).clamp(min=0)
    targets = torch.nn.functional.one_hot(labels, 4).double()
    reference = Ridge(alpha=ridge, fit_intercept=False, solver="cholesky").fit(inputs.numpy(), targets.numpy())
    points = gaussians((5, 5), seed=1)[0]
    expected = torch.from_numpy(reference.predict((points @ projection).clamp(min=0).numpy()))
    torch.testing.assert_close(scores(built, points), expected)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ranpac_takes_the_ridge_with_the_least_error_on_what_each_task_held_out(
    make_learner: MakeLearner, seed: int
) -> None:
    learner = make_learner("class", seed=seed)
    built = strategy("ranpac", learner, width=30)
    kept: list[tuple[Tensor, Tensor]] = []
    held: list[tuple[Tensor, Tensor]] = []
    for position in range(2):
        features, labels = gaussians((20, 20), seed=10 * seed + position)
        features, labels = features / 5, labels + 2 * position
        inputs = built.transform(features)
        built.add(inputs, labels, task_data(learner, position, []))
        order = torch.randperm(40, generator=generator(seed, "held out", f"task {position}"))
        held.append((inputs[order[:8]], labels[order[:8]]))
        kept.append((inputs[order[8:]], labels[order[8:]]))
    (x, y), (test_x, test_y) = (
        (torch.cat([a for a, _ in part]), torch.nn.functional.one_hot(torch.cat([b for _, b in part]), 4).double())
        for part in (kept, held)
    )
    ridges = [10.0**power for power in range(-8, 9)]
    errors = []
    for ridge in ridges:
        weights = torch.linalg.solve(x.T @ x + ridge * torch.eye(30), x.T @ y)
        errors.append(float((test_x @ weights - test_y).square().sum()))
    best = ridges[int(np.argmin(errors))]
    assert 1e-8 < best < 1e8
    x, y = torch.cat([x, test_x]), torch.cat([y, test_y])
    expected = torch.linalg.solve(x.T @ x + best * torch.eye(30), x.T @ y)
    torch.testing.assert_close(built.solve(built.moments)[0].T, expected, rtol=1e-6, atol=1e-9)


def test_klda_is_discriminant_analysis_of_random_fourier_features(make_learner: MakeLearner) -> None:
    features, labels = (value.numpy() for value in gaussians((15, 10, 5, 8)))
    points = gaussians((5, 5), seed=1)[0].numpy()
    arguments = {"width": 12, "gamma": 0.05, "shrinkage": 0.1}
    built = learned("klda", make_learner("class"), torch.from_numpy(features), torch.from_numpy(labels), **arguments)
    stream = generator(0, "random Fourier features")
    omega = math.sqrt(2 * 0.05) * torch.randn(5, 12, dtype=torch.float64, generator=stream).numpy()
    beta = 2 * math.pi * torch.rand(12, dtype=torch.float64, generator=stream).numpy()
    z, z_points = (math.sqrt(2 / 12) * np.cos(x @ omega + beta) for x in (features, points))
    means = np.stack([z[labels == label].mean(0) for label in range(4)])
    centred = z - means[labels]
    covariance = centred.T @ centred / len(z)
    inverse = np.linalg.inv(0.9 * covariance + 0.1 * np.trace(covariance) / 12 * np.eye(12))
    expected = z_points @ inverse @ means.T - 0.5 * np.diag(means @ inverse @ means.T)
    torch.testing.assert_close(scores(built, torch.from_numpy(points)), torch.from_numpy(expected))


def test_kldas_features_approximate_the_kernel(make_learner: MakeLearner) -> None:
    built = strategy("klda", make_learner("class"), width=20000, gamma=0.05)
    points = gaussians((4, 4))[0]
    z = built.transform(points)
    expected = torch.exp(-0.05 * torch.cdist(points, points).square())
    assert float(expected.min()) < 0.1
    # The standard deviation of each entry is at most √(1 / width).
    assert float((z @ z.T - expected).abs().max()) < 5 / math.sqrt(20000)


# --- in a run


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_the_order_of_tasks_does_not_matter(
    make_learner: MakeLearner, make_examples: Examples, name: str, arguments: dict[str, Any], setting: str
) -> None:
    learner = make_learner(setting, tasks=3, width=2)
    tasks = [task_data(learner, position, make_examples(learner.labels, 11, task=position)) for position in range(3)]
    batch = learner.collate(make_examples(learner.labels, 30, task=1, seed=1))
    answers, classifiers = [], []
    for order in itertools.permutations(tasks):
        built = strategy(name, learner, **arguments)
        for task in order:
            built.after_task(learner, task)
        answers.append(built.predict(learner, batch, 1 if setting == "task" else None))
        classifiers.append(built.classifier[0])
    for answer, weights in zip(answers[1:], classifiers[1:], strict=True):
        assert torch.equal(answer.argmax(-1), answers[0].argmax(-1))
        torch.testing.assert_close(weights, classifiers[0], rtol=1e-9, atol=1e-9 * float(weights.abs().max()))
        # Each label's sums come from one task and are the same to the last bit.
        assert name != "ncm" or setting == "domain" or torch.equal(answer, answers[0])


# Which examples ranpac holds out depends on how they are dealt to tasks; with a given ridge it holds out none.
@pytest.mark.parametrize(("name", "arguments"), [v for v in VARIANTS if v != ("ranpac", {"width": 20})])
def test_a_label_met_again_adds_to_what_is_known_of_it(
    make_learner: MakeLearner, make_examples: Examples, name: str, arguments: dict[str, Any]
) -> None:
    learner = make_learner("domain")
    first, second = (make_examples(learner.labels, 8 + task, task=task) for task in range(2))
    batch = learner.collate(make_examples(learner.labels, 20, seed=1))
    apart, together = (strategy(name, learner, **arguments) for _ in range(2))
    apart.after_task(learner, task_data(learner, 0, first))
    half = apart.predict(learner, batch, None)
    apart.after_task(learner, task_data(learner, 1, second))
    together.after_task(learner, task_data(learner, 0, first + second))
    expected = together.predict(learner, batch, None)
    torch.testing.assert_close(apart.predict(learner, batch, None), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(half, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_a_resumed_strategy_goes_on_to_the_last_bit(
    make_learner: MakeLearner, make_examples: Examples, name: str, arguments: dict[str, Any]
) -> None:
    learner = make_learner("class", tasks=3)
    tasks = [task_data(learner, position, make_examples(learner.labels, 11, task=position)) for position in range(3)]
    batch = learner.collate(make_examples(learner.labels, 20, task=1, seed=1))
    whole = strategy(name, learner, **arguments)
    empty = strategy(name, learner, **arguments)
    empty.load_state_dict(whole.state_dict())
    assert torch.equal(empty.predict(learner, batch, None), learner.logits(batch))
    for task in tasks[:2]:
        whole.after_task(learner, task)
    resumed = strategy(name, learner, **arguments)
    state = whole.state_dict()
    resumed.load_state_dict(state)
    assert torch.equal(resumed.predict(learner, batch, None), whole.predict(learner, batch, None))
    kept = {name: value.clone() for name, value in state["moments"].items()}
    resumed.after_task(learner, tasks[2])
    assert all(torch.equal(value, kept[name]) for name, value in whole.state_dict()["moments"].items())
    whole.after_task(learner, tasks[2])
    assert torch.equal(resumed.predict(learner, batch, None), whole.predict(learner, batch, None))


@pytest.mark.parametrize("name", PROTOTYPES)
def test_what_has_not_been_learned_is_left_to_the_model(
    make_learner: MakeLearner, make_examples: Examples, name: str
) -> None:
    learner = make_learner("task", tasks=2, width=3)
    batch = learner.collate(make_examples(learner.labels, 12, task=1))
    built = strategy(name, learner, **PROTOTYPES[name])
    assert not any(parameter.requires_grad for parameter in learner.model.parameters())
    assert torch.equal(built.predict(learner, batch, 0), learner.logits(batch))
    # Of the first task's three labels one has no examples.
    examples = [example for example in make_examples(learner.labels, 18) if example["label"] != 2]
    built.after_task(learner, task_data(learner, 0, examples))
    assert torch.equal(built.predict(learner, batch, 1), learner.logits(batch))
    answer = built.predict(learner, batch, 0)
    assert answer.dtype == torch.float32
    assert answer.isfinite().all()
    assert (answer[:, [2, 3, 4, 5]] < answer[:, [0, 1]].min()).all()
    assert learner.clock.seconds["train"] > 0


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (("ncm", {"metric": "manhattan"}), "ncm: metric = 'manhattan' is not allowed"),
        (("ncm", {"features": "max"}), "ncm: features = 'max' is not allowed"),
        (("slda", {"shrinkage": 0.0}), "slda: shrinkage=0.0 is not allowed; allowed: above 0, at most 1"),
        (("slda", {"shrinkage": 1.5}), "slda: shrinkage=1.5 is not allowed"),
        (("ranpac", {"width": 0}), "ranpac: width=0, ridge=None; allowed: width 1 to 50000"),
        (("ranpac", {"ridge": 0.0}), "ranpac: width=1000, ridge=0.0; allowed: width 1 to 50000, ridge above 0 or None"),
        (("klda", {"gamma": 0.0}), "klda: width=2000, gamma=0.0"),
        (("klda", {"width": 0}), "klda: width=0"),
        (("klda", {"shrinkage": -0.1}), "shrinkage=-0.1; allowed: width 1 to 50000, gamma above 0, shrinkage above 0"),
    ],
)
def test_bad_arguments_are_refused(expression: tuple[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError) as caught:
        plugins.build("strategy", *expression)
    assert message in str(caught.value)


@pytest.mark.parametrize("expression", ["slda", *map(slow, ("ncm", "ranpac(width=100)", "klda(width=100,gamma=0.01)"))])
def test_a_run_takes_no_step_and_forgets_less_than_naive(
    toy_forgetting: Callable[..., float], run_toy: RunToy, expression: str
) -> None:
    result, _ = run_toy(expression, setting="class")
    assert result["cost"]["trainable_parameters"] == 0
    assert result["cost"]["examples_seen"] == 90
    assert result["cost"]["stored_bytes"] > 0
    short = {"setting": "class", "epochs": 4, "lr": 2e-3, "head_lr": 2e-2}  # for naive, which alone takes steps
    assert toy_forgetting(expression, **short) < toy_forgetting("naive", **short) - 0.2
