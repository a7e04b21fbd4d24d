"""SI, MAS, L2 anchor, RWalk and feature distillation against closed forms, values by hand and short references."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench import plugins
from clbench.data import Example
from clbench.errors import InputError
from clbench.learner import Learner
from tests.helpers import Examples, MakeLearner, slow, strategy, task_data

Forgetting = Callable[..., float]


def weight(learner: Learner) -> nn.Parameter:
    return learner.model.get_parameter("weight")


def step(learner: Learner, strategy: Any, gradient: Tensor, rate: float, largest: float = torch.inf) -> None:
    """One step of plain gradient descent, with clipping, as the engine makes it."""
    parameter = weight(learner)
    parameter.grad = gradient.clone()
    strategy.read_gradients(learner)
    strategy.before_step(learner)
    parameter.data -= rate * parameter.grad.clamp(-largest, largest)
    strategy.after_step(learner)


# --- SI

CURVATURE = torch.tensor([[1.0], [4.0], [0.5], [0.0]])
MINIMUM = torch.tensor([[1.0], [-2.0], [3.0], [7.0]])


def test_sis_path_on_a_quadratic_is_its_closed_form(make_learner: MakeLearner) -> None:
    """L = ½ a (θ − m)² from θ = 0: g_t = −a m rᵗ with r = 1 − ηa, so ω = Σ η g_t² = η a² m² (1 − r²ᵀ) / (1 − r²)."""
    learner = make_learner(model=nn.Linear(1, 4, bias=False))
    si = strategy("si", learner, damping=0.1)
    rate, steps = 0.1, 25
    weight(learner).data.zero_()
    si.before_task(learner, task_data(learner, 0))
    for _ in range(steps):
        step(learner, si, CURVATURE * (weight(learner).detach() - MINIMUM), rate)
    si.after_steps(learner, task_data(learner, 0))
    si.after_task(learner, task_data(learner, 0))
    ratio = (1 - rate * CURVATURE.double()) ** 2
    per_gradient = torch.where(ratio < 1, (1 - ratio**steps) / (1 - ratio), torch.tensor(float(steps)).double())
    omega = rate * (CURVATURE * MINIMUM).double().square() * per_gradient
    moved = MINIMUM.double() * (1 - ratio.sqrt() ** steps)
    torch.testing.assert_close(si.importance["weight"].double(), omega / (moved.square() + 0.1), rtol=1e-5, atol=1e-7)
    assert si.importance["weight"][3] == 0
    # The path integral is the loss's decrease, up to the size of the steps.
    decrease = 0.5 * CURVATURE.double() * (MINIMUM.double().square() - (moved - MINIMUM.double()).square())
    torch.testing.assert_close(omega, decrease, rtol=0.3, atol=0.0)


def test_si_integrates_the_task_loss_alone_and_adds_the_penalty_once(make_learner: MakeLearner) -> None:
    """The second of two tasks, with a penalty and clipping, against ten lines of double precision."""
    learner = make_learner(model=nn.Linear(1, 4, bias=False))
    si = strategy("si", learner, strength=0.7, damping=0.2)
    rate, largest = 0.05, 2.0
    weight(learner).data.fill_(0.5)
    theta, omega_sum = torch.full((4, 1), 0.5).double(), torch.zeros(4, 1).double()
    for position, minimum in enumerate((MINIMUM, -MINIMUM)):
        start, path = theta.clone(), torch.zeros(4, 1).double()
        si.before_task(learner, task_data(learner, position))
        for _ in range(12):
            step(learner, si, CURVATURE * (weight(learner).detach() - minimum), rate, largest)
            gradient = CURVATURE.double() * (theta - minimum.double())
            move = -rate * (gradient + 2 * 0.7 * omega_sum * (theta - start)).clamp(-largest, largest)
            path -= gradient * move
            theta = theta + move
        si.after_steps(learner, task_data(learner, position))
        si.after_task(learner, task_data(learner, position))
        omega_sum = (omega_sum + path / ((theta - start).square() + 0.2)).clamp(min=0)
        torch.testing.assert_close(weight(learner).double(), theta, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(si.importance["weight"].double(), omega_sum, rtol=1e-4, atol=1e-5)
    assert float(omega_sum.max()) > 1


def test_sis_importance_is_never_negative(make_learner: MakeLearner) -> None:
    """Moves up the slope of the loss, as another strategy's pull may cause: ω < 0."""
    learner = make_learner(model=nn.Linear(1, 4, bias=False))
    si = strategy("si", learner)
    si.before_task(learner, task_data(learner, 0))
    step(learner, si, torch.ones(4, 1), rate=-1.0)
    assert float(si.path.decrease["weight"].max()) == -1.0
    si.after_steps(learner, task_data(learner, 0))
    si.after_task(learner, task_data(learner, 0))
    assert si.importance["weight"].tolist() == [[0.0]] * 4


def test_a_step_that_fp16_skipped_leaves_the_path_finite(make_learner: MakeLearner) -> None:
    learner = make_learner(model=nn.Linear(1, 4, bias=False))
    learner.precision = "fp16"
    si = strategy("si", learner)
    si.before_task(learner, task_data(learner, 0))
    weight(learner).grad = torch.full((4, 1), torch.inf)
    si.read_gradients(learner)
    si.before_step(learner)
    si.after_step(learner)
    assert si.path.decrease["weight"].tolist() == [[0.0]] * 4


# --- MAS


class LinearImages(nn.Module):
    """Logits W x of images of three pixels."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        self.classifier = nn.Linear(3, len(rows), bias=False)
        self.classifier.weight.data = torch.tensor(rows)
        self.dropout = nn.Dropout(0.9)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.classifier(self.dropout(pixel_values.flatten(1))))


def image(pixels: list[float], label: int, task: int) -> Example:
    return {"pixel_values": torch.tensor(pixels).view(1, 1, 3), "label": label, "task_id": task}


ROWS = [[1.0, 2.0, 0.0], [0.0, 1.0, -1.0], [5.0, 5.0, 5.0], [6.0, 6.0, 6.0]]
IMAGES = [image([1.0, 0.0, 2.0], 0, 0), image([-1.0, 1.0, 0.0], 1, 0)]


@pytest.mark.parametrize(
    ("setting", "rows"),
    [
        # ∂‖f‖²/∂W_ij = 2 f_i x_j. f of the first image: 1, −2; of the second: 1, 1. Labels 2 and 3 are another task's.
        ("task", [[2.0, 1.0, 2.0], [3.0, 1.0, 4.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        # All labels seen are candidates; f_2 is 15 and 0, f_3 is 18 and 0.
        ("class", [[2.0, 1.0, 2.0], [3.0, 1.0, 4.0], [15.0, 0.0, 30.0], [18.0, 0.0, 36.0]]),
    ],
)
def test_mas_by_hand(make_learner: MakeLearner, setting: str, rows: list[list[float]]) -> None:
    learner = make_learner(setting, model=LinearImages(ROWS))
    learner.model.train()
    mas = strategy("mas", learner, strength=0.5)
    mas.after_task(learner, task_data(learner, 0, IMAGES))
    assert mas.importance["classifier.weight"].tolist() == rows
    assert learner.model.training
    # A second task adds to it, and 2 · strength · Ω (θ − θ*) pulls back.
    mas.after_task(learner, task_data(learner, 0, IMAGES))
    parameter = learner.model.get_parameter("classifier.weight")
    parameter.data += 3.0
    parameter.grad = torch.ones_like(parameter)
    mas.before_step(learner)
    expected = 1 + 2 * 0.5 * (2 * torch.tensor(rows)) * 3.0
    assert parameter.grad.tolist() == expected.tolist()


def test_mas_estimates_on_as_many_examples_as_asked_for(make_learner: MakeLearner) -> None:
    learner = make_learner(model=LinearImages(ROWS))
    mas = strategy("mas", learner, samples=1)
    mas.after_task(learner, task_data(learner, 0, IMAGES))
    single = [[[2.0, 0.0, 4.0], [4.0, 0.0, 8.0]], [[2.0, 2.0, 0.0], [2.0, 2.0, 0.0]]]
    assert mas.importance["classifier.weight"][:2].tolist() in single


# --- L2 anchor


def test_l2_anchor_to_the_last_weights_by_hand(make_learner: MakeLearner) -> None:
    """Two of four labels are learned when the first task ends: only their rows are held."""
    learner = make_learner(model=LinearImages(ROWS))
    anchor = strategy("l2_anchor", learner, strength=0.5)
    parameter = learner.model.get_parameter("classifier.weight")

    def pulled() -> list[float]:
        parameter.grad = torch.ones_like(parameter)
        anchor.before_step(learner)
        return parameter.grad[:, 0].tolist()

    anchor.before_task(learner, task_data(learner, 0))
    parameter.data += 4.0
    assert pulled() == [1.0] * 4
    learner.tasks_seen = 1
    anchor.after_task(learner, task_data(learner, 0))
    parameter.data += 6.0
    assert pulled() == [4.0, 4.0, 1.0, 1.0]
    learner.tasks_seen = 2
    anchor.after_task(learner, task_data(learner, 1))
    parameter.data -= 2.0
    assert pulled() == [0.0] * 4


def test_l2_anchor_to_the_pretrained_weights_holds_the_body_only(make_learner: MakeLearner) -> None:
    learner = make_learner()
    anchor = strategy("l2_anchor", learner, strength=0.5, anchor="pretrained")
    for position in range(2):
        anchor.before_task(learner, task_data(learner, position))
        with torch.no_grad():
            for _, parameter in learner.named_parameters():
                parameter.add_(1.0)
        anchor.after_task(learner, task_data(learner, position))
    for _, parameter in learner.named_parameters():
        parameter.grad = torch.zeros_like(parameter)
    anchor.before_step(learner)
    assert set(anchor.centre) == {name for name, _ in learner.named_parameters() if not name.startswith("classifier")}
    for name, parameter in learner.named_parameters():
        expected = 0.0 if name.startswith("classifier") else 0.5 * 2.0
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, torch.full_like(parameter, expected), rtol=1e-4, atol=1e-6)


# --- RWalk


def softmax_fisher(rows: Tensor, examples: list[Example]) -> Tensor:
    """Of logits W x with true labels: the mean of squares of (onehot − p) xᵀ."""
    total = torch.zeros_like(rows)
    for example in examples:
        pixels = example["pixel_values"].flatten().double()
        error = torch.eye(len(rows)).double()[example["label"]] - (rows @ pixels).softmax(0)
        total += torch.outer(error, pixels).square()
    return total / len(examples)


def rescaled(values: Tensor) -> Tensor:
    return (values - values.min()) / (values.max() - values.min())


def test_rwalk_against_ten_lines_of_the_paper(make_learner: MakeLearner) -> None:
    """Two tasks of five steps, a walk of two steps, so that the last walk of a task has one; all labels candidates."""
    learner = make_learner("domain", width=4, model=LinearImages(ROWS))
    rwalk = strategy("rwalk", learner, strength=0.3, alpha=0.8, interval=2, fisher_samples=9, damping=0.01)
    parameter = learner.model.get_parameter("classifier.weight")
    parameter.data *= 0.1
    stream = torch.Generator().manual_seed(0)
    theta, score, importance, fisher = parameter.detach().double(), None, torch.zeros(4, 3).double(), None
    for position in range(2):
        examples = [image(torch.randn(3, generator=stream).tolist(), n % 4, position) for n in range(6)]
        rwalk.before_task(learner, task_data(learner, position, examples))
        centre = start = theta
        walked, decrease = torch.zeros(4, 3).double(), torch.zeros(4, 3).double()
        fisher = softmax_fisher(theta, examples) if fisher is None else fisher
        for number in range(5):
            gradient = torch.randn(4, 3, generator=stream)
            parameter.grad = gradient.clone()
            rwalk.read_gradients(learner)
            rwalk.before_step(learner)
            parameter.data -= 0.2 * parameter.grad
            rwalk.after_step(learner)
            move = -0.2 * (gradient.double() + 2 * 0.3 * importance * (theta - centre))
            decrease -= gradient.double() * move
            theta = theta + move
            if number == 4:
                rwalk.after_steps(learner, task_data(learner, position, examples))
                rwalk.after_task(learner, task_data(learner, position, examples))
            if number in (1, 3, 4):
                walked += (decrease / (0.5 * fisher * (theta - start).square() + 0.01)).clamp(min=0)
                fisher = 0.8 * softmax_fisher(theta, examples) + 0.2 * fisher
                start, decrease = theta, torch.zeros(4, 3).double()
        score = walked if score is None else (score + walked) / 2
        importance = rescaled(fisher) + rescaled(score)
        for found, expected in ((rwalk.fisher, fisher), (rwalk.score, score), (rwalk.importance, importance)):
            torch.testing.assert_close(found["classifier.weight"].double(), expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(parameter.double(), theta, rtol=1e-4, atol=1e-6)


# --- feature distillation


def test_feature_distillation_by_hand(make_learner: MakeLearner) -> None:
    """Features 2 x of the teacher against 3 x of the student."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Parameter(torch.tensor(2.0))
            self.classifier = nn.Linear(3, 4)

        def forward(self, pixel_values: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=self.classifier(self.body * pixel_values.flatten(1)))

    learner = make_learner(model=Scaled())
    distillation = strategy("feature_distillation", learner, alpha=0.7, distance="l2")
    batch = learner.collate(IMAGES)
    assert distillation.loss(learner, batch, learner.logits(batch)) is None
    distillation.after_task(learner, task_data(learner, 0))
    learner.model.get_parameter("body").data.fill_(3.0)
    loss = distillation.loss(learner, batch, learner.logits(batch))
    # ‖x‖² is 5 and 2, and d = 3: the mean of 5/3 and 2/3.
    assert loss.item() == pytest.approx(0.7 * (5 / 3 + 2 / 3) / 2)
    loss.backward()
    # Its derivative by the body's scale: 2 (3 − 2) times the same; the output layer is not reached.
    gradient = learner.model.get_parameter("body").grad
    assert gradient is not None
    assert float(gradient) == pytest.approx(2 * 0.7 * (5 / 3 + 2 / 3) / 2)
    assert learner.model.get_parameter("classifier.weight").grad is None


def test_the_cosine_distance_leaves_the_length_free(make_learner: MakeLearner) -> None:
    import sys

    learner = make_learner()
    module = sys.modules[type(strategy("feature_distillation", learner)).__module__]
    features, target = torch.tensor([[3.0, 0.0], [0.0, 5.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    found = float(module.feature_distance(features, target, "cosine"))
    assert found == pytest.approx((0.0 + 1 - 0.5**0.5) / 2)


def test_the_feature_teacher_is_frozen_in_eval_mode_and_comes_back(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner = make_learner(dropout=0.5)
    learner.model.train()
    one, other = strategy("feature_distillation", learner), strategy("feature_distillation", learner)
    one.after_task(learner, task_data(learner, 0))
    assert not any(module.training for module in one.teacher.modules())
    assert not any(p.requires_grad for p in one.teacher.parameters())
    before = {name: value.clone() for name, value in one.teacher.state_dict().items()}
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.add_(0.1)
    assert all(torch.equal(value, before[name]) for name, value in one.teacher.state_dict().items())
    other.load_state_dict(one.state_dict())
    batch = learner.collate(make_examples(learner.labels, 4))
    logits = learner.logits(batch)
    losses = [each.loss(learner, batch, logits).item() for each in (one, other)]
    assert losses[0] == losses[1] > 0


# --- what is refused


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("si", {"strength": -1.0}, "si: strength=-1.0, damping=0.1; allowed: strength 0 or more, damping above 0"),
        ("si", {"damping": 0.0}, "si: strength=30000.0, damping=0.0; allowed: strength 0 or more, damping above 0"),
        ("mas", {"samples": 0}, "mas: strength=1.0, samples=0; allowed: strength 0 or more, samples 1 or more"),
        ("l2_anchor", {"strength": -0.1}, "l2_anchor: strength=-0.1; allowed: 0 or more"),
        ("feature_distillation", {"alpha": -2.0}, "feature_distillation: alpha=-2.0; allowed: 0 or more"),
        (
            "rwalk",
            {"alpha": 0.0},
            "rwalk: strength=4000.0, alpha=0.0, interval=10, fisher_samples=32, damping=0.001; allowed: strength 0 or "
            "more, alpha above 0 to 1, interval and fisher_samples 1 or more, damping above 0",
        ),
    ],
)
def test_bad_arguments_are_refused_in_one_line(name: str, arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        plugins.build("strategy", name, arguments)
    assert str(caught.value) == line


def test_an_unknown_anchor_is_refused() -> None:
    with pytest.raises(InputError, match="last"):
        plugins.build("strategy", "l2_anchor", {"anchor": "first"})


# --- what they are for


@pytest.mark.parametrize(
    ("expression", "setting"),
    [
        slow("si(strength=1000.0)", "domain"),
        slow("mas(strength=10.0)", "domain"),
        slow("l2_anchor(strength=10.0)", "task"),
        slow("rwalk(strength=100.0)", "domain"),
        slow("feature_distillation(alpha=3.0, distance='l2')", "task"),
    ],
)
def test_they_forget_less_than_naive(toy_forgetting: Forgetting, expression: str, setting: str) -> None:
    """Where labels are shared the whole model forgets; where each task has its own, only the body does."""
    naive = toy_forgetting("naive", setting=setting)
    assert naive > 0.05
    assert toy_forgetting(expression, setting=setting) < naive - 0.03
