"""Rehearsal: each method's formula by hand or against a reference, what the memories keep, what a step replays."""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from clbench.config import make_config
from clbench.data import TOKEN_BUDGET, Batch, Example, length
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.strategy import Stack
from clbench.toolkit.buffer import ExampleBuffer, Sampling
from clbench.toolkit.rehearsal import ReplayWindow, divergences, join, stored_outputs
from clbench.toolkit.selection import herding_order
from tests.helpers import Examples, MakeLearner, slow, strategy, task_data


def function(name: str, of: str) -> Any:
    """A function of a strategy's file."""
    return getattr(sys.modules[type(strategy(of)).__module__], name)


def numbered(labels: list[int], task: int = 0, first: int = 0) -> list[Example]:
    """Examples whose one token is their number."""
    return [
        {"input_ids": torch.tensor([number]), "label": label, "task_id": task}
        for number, label in enumerate(labels, start=first)
    ]


def numbers(examples: list[Example]) -> list[int]:
    return [int(example["input_ids"][0]) for example in examples]


class Table(nn.Module):
    """The logits of an image are the row that its one pixel names."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        self.classifier = nn.Linear(len(rows), len(rows[0]), bias=False)
        self.classifier.weight = nn.Parameter(torch.tensor(rows).T.contiguous())

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        rows = nn.functional.one_hot(pixel_values.flatten().long(), self.classifier.in_features).float()
        return SimpleNamespace(logits=self.classifier(rows))


def set_rows(learner: Learner, rows: list[list[float]]) -> None:
    with torch.no_grad():
        learner.model.get_parameter("classifier.weight").copy_(torch.tensor(rows).T)


def row_gradients(learner: Learner) -> Tensor:
    gradient = learner.model.get_parameter("classifier.weight").grad
    assert gradient is not None
    return gradient.T


def image(row: int, label: int, task: int) -> Example:
    return {"pixel_values": torch.full((1, 1, 1), float(row)), "label": label, "task_id": task}


def cross_entropy(logits: list[float], label: int, among: list[int]) -> float:
    return math.log(sum(math.exp(logits[c]) for c in among)) - logits[label]


def new_batch(learner: Learner, examples: list[Example]) -> Batch:
    """The batch of a step's new examples, as the engine hands them on."""
    learner.new_examples = examples
    return learner.collate(examples)


def objective(learner: Learner, strategy: Any, batch: Batch, parts: int = 1) -> Tensor:
    """What the engine minimises in a step: the mean over each part and the strategy's addition, by the part's share."""
    total = torch.zeros(())
    count = len(batch["labels"])
    for rows in torch.arange(count).chunk(parts):
        part = {key: value[rows[0] : rows[-1] + 1] for key, value in batch.items()}
        logits = learner.logits(part)
        extra = strategy.loss(learner, part, logits)
        loss = learner.example_losses(logits, part).mean() + (0.0 if extra is None else extra)
        total = total + loss * (len(rows) / count)
    return total


# Three labels a task, two tasks in the class setting: columns 0 to 2 and 3 to 5.
ROWS = [
    [1.0, -1.0, 0.5, 2.0, 0.0, 3.0],
    [0.0, 0.5, 0.5, -1.0, 1.0, -2.0],
    [-0.5, 1.5, 0.0, 0.3, -0.2, 0.1],
    [2.0, 0.2, -1.0, 0.4, 0.6, -0.8],
]
ALL = [0, 1, 2, 3, 4, 5]


def class_learner(make_learner: MakeLearner, setting: str = "class") -> Learner:
    return make_learner(setting, tasks=2, width=3, model=Table(ROWS))


# --- ER-ACE


@pytest.mark.parametrize(("classes", "current"), [("batch", [3, 5]), ("task", [3, 4, 5])])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_er_ace_by_hand(make_learner: MakeLearner, classes: str, current: list[int], parts: int) -> None:
    """New examples among their batch's (or task's) labels, remembered ones among all; the sum of both means."""
    learner = class_learner(make_learner)
    ace = strategy("er_ace", learner, memory_size=5, replay_batch_size=2, classes=classes)
    ace.buffer.add([image(0, 1, 0), image(1, 2, 0)])
    ace.before_task(learner, task_data(learner, 1, []))
    batch = ace.train_batch(new_batch(learner, [image(2, 3, 1), image(3, 5, 1), image(2, 5, 1)]))
    assert batch["task_ids"].tolist() == [1, 1, 1, 0, 0]
    new = (
        cross_entropy(ROWS[2], 3, current) + cross_entropy(ROWS[3], 5, current) + cross_entropy(ROWS[2], 5, current)
    ) / 3
    old = (cross_entropy(ROWS[0], 1, ALL) + cross_entropy(ROWS[1], 2, ALL)) / 2
    assert objective(learner, ace, batch, parts).item() == pytest.approx(new + old, rel=1e-5)


def test_er_ace_pushes_down_no_old_label_with_new_examples(make_learner: MakeLearner) -> None:
    learner = class_learner(make_learner)
    ace = strategy("er_ace", learner, memory_size=5, replay_batch_size=1)
    ace.buffer.add([image(0, 1, 0)])
    ace.before_task(learner, task_data(learner, 1, []))
    batch = ace.train_batch(new_batch(learner, [image(2, 3, 1), image(3, 5, 1)]))
    objective(learner, ace, batch).backward()
    gradient = row_gradients(learner)
    # Exactly 0: AdamW would blow rounding up to a full step.
    assert gradient[2:, [0, 1, 2, 4]].tolist() == [[0.0] * 4] * 2
    assert bool((gradient[0] != 0).all())


def test_er_ace_before_there_is_a_memory(make_learner: MakeLearner) -> None:
    learner = class_learner(make_learner)
    ace = strategy("er_ace", learner)
    ace.before_task(learner, task_data(learner, 0, []))
    batch = ace.train_batch(new_batch(learner, [image(0, 1, 0), image(1, 2, 0)]))
    expected = (cross_entropy(ROWS[0], 1, [1, 2]) + cross_entropy(ROWS[1], 2, [1, 2])) / 2
    assert objective(learner, ace, batch).item() == pytest.approx(expected, rel=1e-5)


def test_er_ace_leaves_rows_of_other_strategies_as_they_are(make_learner: MakeLearner) -> None:
    """Replay's rows, added after ER-ACE's or before, compete with all labels and bring no label into the batch's."""
    learner = class_learner(make_learner)
    replay = strategy("replay", learner, memory_size=5, replay_batch_size=1)
    ace = strategy("er_ace", learner, memory_size=5)
    replay.after_task(learner, task_data(learner, 0, [image(0, 1, 0)]))
    new = new_batch(learner, [image(2, 3, 1), image(3, 5, 1)])
    ace.before_task(learner, task_data(learner, 1, []))
    losses = [
        cross_entropy(ROWS[2], 3, [3, 5]),
        cross_entropy(ROWS[3], 5, [3, 5]),
        cross_entropy(ROWS[0], 1, ALL),
    ]
    for order in ((ace, replay), (replay, ace)):
        batch = new
        for each in order:
            batch = each.train_batch(batch)
        assert objective(learner, ace, batch).item() == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_er_ace_remembers_the_batches_while_it_learns(make_learner: MakeLearner) -> None:
    """New examples and none that were replayed; with a fraction each task in places of its own."""
    learner = class_learner(make_learner)
    ace = strategy("er_ace", learner, memory_size=0.5, replay_batch_size=2)
    for task in (0, 1):
        examples = [image(number % 4, 3 * task + number % 3, task) for number in range(8)]
        ace.before_task(learner, task_data(learner, task, examples))
        for start in (0, 4):
            batch = ace.train_batch(new_batch(learner, examples[start : start + 4]))
            assert batch["remembered"].tolist() == [False] * 4 + [True] * 2 * (task + start > 0)
            ace.after_step(learner)
            assert len(ace.buffer) == 4 * (task + 1)
        ace.after_task(learner, task_data(learner, task, examples))
    assert [example["task_id"] for example in ace.buffer.examples] == [0] * 4 + [1] * 4


# --- DER


def remember(der: Any, learner: Learner, examples: list[Example], task: int) -> None:
    """Let ``examples`` enter the memory as a step's new batch does, without learning from it."""
    learner.tasks_seen = task + 1
    der.before_task(learner, task_data(learner, task, examples))
    objective(learner, der, der.train_batch(new_batch(learner, examples)))
    der.after_step(learner)


def distance(stored: list[float], now: list[float], known: list[int]) -> float:
    return sum((stored[c] - now[c]) ** 2 for c in known) / len(known)


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize(("alpha", "beta"), [(0.7, 0.0), (0.7, 0.3), (0.0, 0.3), (0.0, 0.0)])
@pytest.mark.parametrize(("setting", "new", "old"), [("class", ALL, ALL), ("task", [3, 4, 5], [0, 1, 2])])
def test_der_by_hand(
    make_learner: MakeLearner, setting: str, new: list[int], old: list[int], alpha: float, beta: float, parts: int
) -> None:
    """The mean over the new batch, alpha times the distance from the stored logits, beta times the remembered labels'.

    Stored when one task had begun: the three labels of the other did not exist, so only three logits are matched.
    """
    learner = class_learner(make_learner, setting)
    der = strategy("der", learner, memory_size=5, replay_batch_size=4, alpha=alpha, beta=beta)
    remember(der, learner, [image(0, 1, 0), image(1, 2, 0)], task=0)
    moved = [[value + 0.25 * (c + 1) for c, value in enumerate(row)] for row in ROWS]
    set_rows(learner, moved)
    learner.tasks_seen = 2
    der.before_task(learner, task_data(learner, 1, []))
    batch = der.train_batch(new_batch(learner, [image(2, 3, 1), image(3, 5, 1)]))
    expected = (cross_entropy(moved[2], 3, new) + cross_entropy(moved[3], 5, new)) / 2
    expected += alpha * sum(distance(ROWS[i], moved[i], [0, 1, 2]) for i in (0, 1)) / 2
    expected += beta * (cross_entropy(moved[0], 1, old) + cross_entropy(moved[1], 2, old)) / 2
    assert objective(learner, der, batch, parts).item() == pytest.approx(expected, rel=1e-5)


def test_der_matches_the_labels_of_every_task_that_had_begun(make_learner: MakeLearner) -> None:
    learner = class_learner(make_learner)
    der = strategy("der", learner, memory_size=5, alpha=1.0)
    remember(der, learner, [image(0, 4, 1)], task=1)
    stored = der.buffer.examples[0]["logits"]
    assert stored.tolist() == pytest.approx(ROWS[0])
    remember(der, learner, [image(1, 1, 0)], task=0)
    assert der.buffer.examples[1]["logits"].tolist() == pytest.approx([*ROWS[1][:3], *[-math.inf] * 3])


def test_der_alone_does_not_learn_the_remembered_labels(make_learner: MakeLearner) -> None:
    """Where the logits are still those that were stored, a remembered example gives no gradient at all."""
    learner = class_learner(make_learner)
    der = strategy("der", learner, memory_size=5, replay_batch_size=2, alpha=1.0)
    remember(der, learner, [image(0, 1, 0), image(1, 2, 0)], task=0)
    learner.tasks_seen = 2
    der.before_task(learner, task_data(learner, 1, []))
    objective(learner, der, der.train_batch(new_batch(learner, [image(2, 3, 1)]))).backward()
    gradient = row_gradients(learner)
    assert gradient[:2].tolist() == [[0.0] * 6] * 2
    assert bool((gradient[2] != 0).all())


def test_der_stores_what_entered_with_the_logits_of_its_step(make_learner: MakeLearner) -> None:
    """Also when a step is computed in parts, a second time in smaller ones, and beside replayed rows."""
    learner = class_learner(make_learner)
    der, replay = strategy("der", learner, memory_size=4), strategy("replay", learner, memory_size=4)
    replay.after_task(learner, task_data(learner, 0, [image(0, 0, 0), image(3, 1, 0)]))
    stack = Stack([("replay", replay), ("der", der)])
    der.before_task(learner, task_data(learner, 1, [{}] * 3))
    batch = stack.train_batch(new_batch(learner, [image(1, 3, 1), image(2, 4, 1), image(1, 5, 1)]))
    for parts in (1, 5):
        objective(learner, stack, batch, parts)
    der.after_step(learner)
    kept = der.buffer.examples
    assert [(int(e["pixel_values"]), e["label"], e["task_id"]) for e in kept] == [(1, 3, 1), (2, 4, 1), (1, 5, 1)]
    for example in kept:
        assert torch.equal(example["logits"], torch.tensor(ROWS[int(example["pixel_values"])]))


def test_the_reservoir_is_uniform_over_the_batches() -> None:
    """Of 40 examples in batches of 8 each is kept with probability 10/40."""
    repetitions, total, size = 400, 40, 10
    counts: Counter[int] = Counter()
    for seed in range(repetitions):
        buffer = ExampleBuffer(size, "reservoir", seed)
        stream = numbered([0] * total)
        for start in range(0, total, 8):
            for place, number in buffer.enter(8, buffer.places(total)).items():
                buffer.put(place, stream[start + number])
        assert len(buffer) == size
        counts.update(numbers(buffer.examples))
    expected, probability = repetitions * size / total, size / total
    statistic = sum((counts[n] - expected) ** 2 for n in range(total)) / (expected * (1 - probability))
    assert stats.chi2.sf(statistic, total) > 1e-4
    # A reservoir that favoured early or late ones would not spread this evenly over the batches either.
    batches = [sum(counts[n] for n in range(start, start + 8)) for start in range(0, total, 8)]
    assert stats.chisquare(batches).pvalue > 1e-4


def test_with_a_fraction_each_task_keeps_its_own_places(make_learner: MakeLearner) -> None:
    learner = class_learner(make_learner)
    der = strategy("der", learner, memory_size=0.25)
    for task in (0, 1):
        examples = [image(number % 4, 3 * task, task) for number in range(16)]
        learner.tasks_seen = task + 1
        der.before_task(learner, task_data(learner, task, examples))
        for start in range(0, 16, 4):
            objective(learner, der, der.train_batch(new_batch(learner, examples[start : start + 4])))
            der.after_step(learner)
        der.after_task(learner, task_data(learner, task, examples))
        assert [example["task_id"] for example in der.buffer.examples] == [0] * 4 + [1] * 4 * task


def test_ders_memory_comes_back_inside_a_task(make_learner: MakeLearner) -> None:
    learner = class_learner(make_learner)
    one, other = (strategy("der", learner, memory_size=3, beta=0.5) for _ in range(2))
    remember(one, learner, [image(number % 4, 0, 0) for number in range(5)], task=0)
    other.before_task(learner, task_data(learner, 0, []))
    other.load_state_dict(one.state_dict())
    for _ in range(3):
        batches = []
        for der in (one, other):
            batches.append(der.train_batch(new_batch(learner, [image(3, 1, 0), image(2, 2, 0)])))
            objective(learner, der, batches[-1])
            der.after_step(learner)
        assert all(torch.equal(batches[0][key], batches[1][key]) for key in batches[0])


# --- A-GEM


def test_agem_projects_by_hand() -> None:
    """g = (1, 0), g_ref = (−1, 1): g − (−1/2) g_ref = (½, ½). And where they agree nothing changes."""
    project = function("project", "agem")
    gradients = [torch.tensor([1.0]), torch.tensor([[0.0]])]
    project(gradients, [torch.tensor([-1.0]), torch.tensor([[1.0]])])
    assert [float(g) for g in gradients] == [0.5, 0.5]
    project(gradients, [torch.tensor([3.0]), torch.tensor([[-1.0]])])
    assert [float(g) for g in gradients] == [0.5, 0.5]
    project(gradients, [torch.zeros(1), torch.zeros(1, 1)])
    assert [float(g) for g in gradients] == [0.5, 0.5]


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).double()


def task_gradient(learner: Learner, examples: list[Example]) -> Tensor:
    """The gradient of the mean loss on ``examples``, by backward."""
    learner.model.zero_grad()
    batch = learner.collate(examples)
    learner.example_losses(learner.logits(batch), batch).mean().backward()
    return flat([p.grad if p.grad is not None else torch.zeros_like(p) for _, p in learner.named_parameters()])


def set_gradient(learner: Learner, value: Tensor) -> None:
    sizes = [p.numel() for _, p in learner.named_parameters()]
    for (_, parameter), part in zip(learner.named_parameters(), value.float().split(sizes), strict=True):
        parameter.grad = part.reshape(parameter.shape).clone()


def read_gradient(learner: Learner) -> Tensor:
    return flat([p.grad for _, p in learner.named_parameters() if p.grad is not None])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_agem_leaves_no_negative_product(make_learner: MakeLearner, make_examples: Examples, sign: float) -> None:
    learner = make_learner("class", tasks=2)
    agem = strategy("agem", learner, memory_size=6, replay_batch_size=6)
    agem.before_task(learner, task_data(learner, 1))
    agem.before_step(learner)
    agem.after_task(learner, task_data(learner, 0, make_examples(learner.labels, 6)))
    reference = task_gradient(learner, agem.buffer.examples)
    noise = torch.randn(len(reference), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = sign * reference + 0.1 * noise
    agem.train_batch(new_batch(learner, make_examples(learner.labels, 4, task=1)))
    set_gradient(learner, given)
    agem.before_step(learner)
    found, product = read_gradient(learner), float(given @ reference)
    assert product * sign > 0
    expected = given if sign > 0 else given - product / float(reference @ reference) * reference
    assert torch.allclose(found, expected, atol=1e-5 * float(given.abs().max()))
    assert float(found @ reference) >= -1e-6 * float(found.norm() * reference.norm())


# --- GEM


def nearest(gradient: Tensor, past: Tensor) -> Tensor:
    """The feasible z nearest to ``gradient``: the best of the projections onto every set of constraints held at 0."""
    best = None
    for size in range(len(past) + 1):
        for chosen in itertools.combinations(range(len(past)), size):
            rows = past[list(chosen)]
            z = gradient - rows.T @ torch.linalg.pinv(rows @ rows.T) @ (rows @ gradient) if chosen else gradient
            feasible = bool((past @ z >= -1e-9).all())
            if feasible and (best is None or (z - gradient).norm() < (best - gradient).norm()):
                best = z
    assert best is not None
    return best


@pytest.mark.parametrize("seed", range(12))
def test_gem_finds_the_nearest_of_all_that_oppose_no_past_task(seed: int) -> None:
    gram_matrix, dual_solution = function("gram_matrix", "gem"), function("dual_solution", "gem")
    stream = torch.Generator().manual_seed(seed)
    count = 1 + seed % 5
    past = torch.randn(count, 6, generator=stream, dtype=torch.float64)
    past *= 10.0 ** torch.randint(-2, 3, (count, 1), generator=stream)
    if count > 2:
        past[-1] = past[0] + past[1]  # no independent rows
    gradient = torch.randn(6, generator=stream, dtype=torch.float64)
    if seed % 2:
        gradient -= past.sum(0)
    rows = [[row[:2], row[2:].reshape(2, 2)] for row in [*past.float(), gradient.float()]]
    weights = torch.from_numpy(dual_solution(gram_matrix(rows)))
    z = gradient + past.T @ weights
    lengths = past.norm(dim=1) * gradient.norm()
    assert bool((weights >= 0).all())
    assert bool((past @ z >= -2e-6 * lengths).all())
    assert torch.allclose(z, nearest(gradient, past), atol=2e-5 * float(gradient.norm()))


def test_gem_by_hand() -> None:
    """G = (1, 0), g = (−2, 1): v = 2 and z = (0, 1)."""
    solution = function("dual_solution", "gem")(np.array([[1.0, -2.0], [-2.0, 5.0]]))
    assert solution == pytest.approx([2.0])


def test_gems_margin_bounds_v_from_below() -> None:
    """Two orthonormal past gradients and g = (−2, 1): v* = (2, 0); added to it, a margin would give (2.5, 0.5)."""
    gram = np.array([[1.0, 0.0, -2.0], [0.0, 1.0, 1.0], [-2.0, 1.0, 5.0]])
    solve = function("dual_solution", "gem")
    np.testing.assert_allclose(solve(gram), [2.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(solve(gram, 0.5), [2.0, 0.5], atol=1e-9)
    np.testing.assert_allclose(solve(gram, 3.0), [3.0, 3.0], atol=1e-9)


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_a_gem_step_opposes_no_past_task(make_learner: MakeLearner, make_examples: Examples, margin: float) -> None:
    learner = make_learner("class", tasks=4)
    gem = strategy("gem", learner, memory_size=12, replay_batch_size=8, margin=margin)
    gem.before_task(learner, task_data(learner, 3))
    gem.train_batch({})
    gem.before_step(learner)
    for position in range(3):
        gem.after_task(learner, task_data(learner, position, make_examples(learner.labels, 8, task=position)))
    past = torch.stack(
        [task_gradient(learner, [e for e in gem.buffer.examples if e["task_id"] == position]) for position in range(3)]
    )
    given = task_gradient(learner, make_examples(learner.labels, 4, task=3)) - past[0] - 0.5 * past[2]
    gem.train_batch({})
    set_gradient(learner, given)
    gem.before_step(learner)
    assert float((past @ given).min()) < 0
    # Of v = margin + u the margin is given, and u ≥ 0 takes what is left to the nearest that opposes no past task.
    expected = nearest(given + margin * past.sum(0), past)
    assert float((past @ expected).min()) >= -1e-6 * float(past.square().sum())
    assert torch.allclose(read_gradient(learner), expected, atol=1e-5 * float(given.abs().max()))
    # A gradient that opposes nothing stays as it is, to the last bit.
    gem.train_batch({})
    set_gradient(learner, past.T @ torch.linalg.solve(past @ past.T, torch.ones(3, dtype=past.dtype)))
    before = read_gradient(learner)
    assert float((past @ before).min()) > 0
    gem.before_step(learner)
    assert torch.equal(read_gradient(learner), before)


# --- what the memories keep


def test_ring_keeps_the_newest_of_each_label_of_each_task() -> None:
    buffer = ExampleBuffer(8, "ring", 0)
    buffer.add(numbered([0, 1, 0, 1, 0, 1, 0, 1, 0, 0]))
    assert sorted(numbers(buffer.examples)) == [1, 3, 4, 5, 6, 7, 8, 9]
    # The domain setting: the same labels again, of another task, and fewer of the second than its share.
    buffer.add(numbered([0, 0, 0, 1], task=1, first=100))
    kept: dict[tuple[int, int], list[int]] = defaultdict(list)
    for example in buffer.examples:
        kept[example["task_id"], example["label"]].append(int(example["input_ids"][0]))
    assert kept == {(0, 0): [9, 8, 6], (0, 1): [7, 5], (1, 0): [102, 101], (1, 1): [103]}


def test_ring_with_a_fraction_never_drops() -> None:
    buffer = ExampleBuffer(0.5, "ring", 0)
    buffer.add(numbered([0, 1, 0, 1]))
    buffer.add(numbered([2, 2, 3, 3], task=1, first=10))
    assert numbers(buffer.examples) == [2, 3, 11, 13]


ANGLES = [0.0, 20.0, 90.0, 100.0, 40.0]


def unit_vectors(angles: list[float]) -> Tensor:
    radians = torch.tensor(angles, dtype=torch.float64).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def test_herding_order_by_hand() -> None:
    """Unit vectors at 0°, 90° and 50°: the mean is at (0.548, 0.589), nearest to 50°; then 0° brings the mean of two
    to (0.821, 0.383), 0.342 off, and 90° to (0.321, 0.883), 0.371 off."""
    assert herding_order(unit_vectors([0.0, 90.0, 50.0]), 3) == [2, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_herding_order_is_algorithm_4(seed: int) -> None:
    """The paper's argmin, literally; lengths do not matter, since features are made unit vectors first."""
    features = torch.randn(12, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    unit = features / features.norm(dim=1, keepdim=True)
    mean = unit.mean(0)
    expected: list[int] = []
    for k in range(1, 8):
        total = unit[expected].sum(0)
        left = [i for i in range(12) if i not in expected]
        expected.append(min(left, key=lambda i: float((mean - (unit[i] + total) / k).norm())))
    assert herding_order(features, 7) == expected


def test_herding_keeps_the_best_of_each_label_and_drops_the_last_first() -> None:
    buffer = ExampleBuffer(6, "herding", 0)
    features = unit_vectors(ANGLES + ANGLES[::-1])
    buffer.add(numbered([0] * 5 + [1] * 5), features)
    order = herding_order(unit_vectors(ANGLES), 5)
    assert numbers(buffer.examples) == [n for i in order[:3] for n in (i, 9 - i)]
    buffer.add(numbered([2] * 5, task=1, first=20), unit_vectors(ANGLES))
    by_label = {label: numbers([e for e in buffer.examples if e["label"] == label]) for label in range(3)}
    assert by_label == {0: order[:2], 1: [9 - i for i in order[:2]], 2: [20 + i for i in order[:2]]}


def test_replay_herds_on_the_models_features(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("class", dropout=0.5)
    learner.model.train()
    examples = make_examples(learner.labels, 12)
    replay = strategy("replay", learner, memory_size=4, sampling="herding")
    replay.after_task(learner, task_data(learner, 0, examples))
    assert learner.model.training
    learner.model.eval()
    expected = []
    for label in learner.labels.columns[0]:
        own = [example for example in examples if example["label"] == label]
        features = torch.cat([learner.logits_and_features(learner.collate([example]))[1] for example in own])
        expected += [own[i]["input_ids"].tolist() for i in herding_order(features.detach(), 2)]
    kept = [example["input_ids"].tolist() for example in replay.buffer.examples]
    assert sorted(kept) == sorted(expected)


def greedy(size: float, *tasks: list[int]) -> list[Counter[int]]:
    buffer, counts, first = ExampleBuffer(size, "greedy_balanced", 0), [], 0
    for position, labels in enumerate(tasks):
        buffer.add(numbered(labels, position, first))
        first += len(labels)
        assert len(set(numbers(buffer.examples))) == len(buffer)
        counts.append(Counter(example["label"] for example in buffer.examples))
    return counts


def test_gdumbs_memory_by_hand() -> None:
    """Four places: the first label fills them, the second takes until it has its share of two and then no more."""
    assert greedy(4, [0, 0, 0, 0, 0]) == [{0: 4}]
    assert greedy(4, [0, 0, 0, 0, 0, 1]) == [{0: 3, 1: 1}]
    assert greedy(4, [0, 0, 0, 0, 0, 1, 1, 1, 1, 0]) == [{0: 2, 1: 2}]
    # An example of the first that comes while the second has not its share yet is refused: 2 is not below 4 / 2.
    buffer = ExampleBuffer(4, "greedy_balanced", 0)
    buffer.add(numbered([0, 0, 1, 0, 1, 1]))
    assert sorted(numbers(buffer.examples)) == [0, 1, 2, 4]


def test_gdumbs_memory_is_balanced_whatever_comes() -> None:
    counts = greedy(12, [0] * 90 + [1] * 15, [2] * 30 + [3] * 8, [4, 5] * 20)
    assert counts[0] == {0: 6, 1: 6}
    assert counts[1] == {0: 3, 1: 3, 2: 3, 3: 3}
    assert counts[2] == dict.fromkeys(range(6), 2)
    # A fraction of all examples so far: 5, 10 places.
    assert greedy(0.25, [0, 1] * 10, [2, 3] * 10)[1].total() == 10


def test_gdumb_learns_from_its_memory_alone(make_learner: MakeLearner, make_examples: Examples) -> None:
    """The same memory gives the same model, whatever the weights were and whatever else was in the task."""
    learner = make_learner("class")
    config = make_config({"scenario": "toy", "strategy": "gdumb", "batch_size": 4, "precision": "fp32"})
    gdumb = strategy("gdumb", learner, memory_size=6, epochs=3)
    start = [p.detach().clone() for p in learner.model.parameters()]
    task = task_data(learner, 0, make_examples(learner.labels, 20))
    assert gdumb.train(learner, task, config) == 3 * 6
    first = [p.detach().clone() for p in learner.model.parameters()]
    assert any(not torch.equal(a, b) for a, b in zip(start, first, strict=True))
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.add_(1.0)
    # Nothing new for a memory in which both labels have their share.
    assert gdumb.train(learner, task, config) == 3 * 6
    assert all(torch.equal(a, b) for a, b in zip(first, learner.model.parameters(), strict=True))


# --- what a step replays


def sized(lengths: list[int]) -> list[Example]:
    return [
        {"input_ids": torch.full((tokens,), number), "label": 0, "task_id": 0} for number, tokens in enumerate(lengths)
    ]


LENGTHS = [3, 60, 9, 33, 14, 5, 48, 22, 60, 7]


def window(seed: int, count: int, steps: int, lengths: list[int] | None = None) -> ReplayWindow:
    buffer = ExampleBuffer(1000, "reservoir", seed)
    buffer.add(sized(lengths or LENGTHS))
    drawing = ReplayWindow(buffer, count)
    drawing.task_steps = steps
    return drawing


def test_every_example_is_replayed_alike_whatever_its_length() -> None:
    """Widths favour short texts throughout, and the last window is a short one: 13 steps of 4 out of 10."""
    repetitions, steps, count = 150, 13, 4
    replayed: Counter[int] = Counter()
    for seed in range(repetitions):
        drawing = window(seed, count, steps)
        for step in range(steps):
            taken = numbers(drawing.take([8, 12, 20][step % 3]))
            assert len(set(taken)) == count
            replayed.update(taken)
        assert not drawing.drawn
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], repetitions * steps, count / len(LENGTHS))
    assert low <= min(replayed[n] for n in range(len(LENGTHS)))
    assert max(replayed.values()) <= high


@pytest.mark.parametrize(("width", "wanted"), [(6, 5), (60, 50)])
def test_a_window_gives_each_step_what_fits_its_width(width: int, wanted: int) -> None:
    """Two steps of four out of eight: a narrow step gets the short ones, a wide one leaves them to a narrow one."""
    lengths = [5, 50, 5, 50, 5, 50, 5, 50]
    fitting = 0
    for seed in range(20):
        drawing = window(seed, 4, 2, lengths)
        first = drawing.take(width)
        taken = set(numbers(first))
        waiting = {number for number in drawing.drawn if lengths[number] == wanted} - taken
        # One that fits waits only while every other one that is taken was drawn for both steps.
        assert not waiting or {number for number in taken if lengths[number] != wanted} <= set(drawing.drawn)
        fitting += sum(length(example) == wanted for example in first)
    # Without windows half would be.
    assert fitting > 0.65 * 80


def test_a_memory_smaller_than_the_share_is_replayed_whole() -> None:
    drawing = window(0, 16, 20)
    for _ in range(20):
        assert sorted(numbers(drawing.take(10))) == list(range(10))


def test_a_window_goes_on_after_a_checkpoint(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    config = make_config({"scenario": "toy", "strategy": "replay", "batch_size": 2, "epochs": 3, "min_steps": 0})
    one, other = (
        strategy("replay", learner, memory_size=20, replay_batch_size=3, kl_weight=1.0, sampling="ring")
        for _ in range(2)
    )
    one.after_task(learner, task_data(learner, 0, make_examples(learner.labels, 24)))
    new = task_data(learner, 1, make_examples(learner.labels, 8, task=1))
    one.train(learner, new, config)
    batches = [learner.collate(new.train[i : i + 2]) for i in (0, 2, 4, 6)] * 3
    for batch in batches[:4]:
        one.train_batch(batch)
    assert one.window.steps_left == 6
    other.load_state_dict(one.state_dict())
    other.train(learner, new, config)
    for batch in batches[4:]:
        mine, theirs = one.train_batch(batch), other.train_batch(batch)
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert one.window.state_dict() == other.window.state_dict() == {"step": 12, "steps_left": 0, "drawn": []}


def test_join_gives_a_key_that_one_side_lacks_zeros(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    one, other = (learner.collate(make_examples(learner.labels, 2, seed=seed)) for seed in (0, 1))
    joined = join({**one, "mine": torch.ones(2, 3)}, {**other, "theirs": torch.tensor([4, 5])}, 0)
    assert joined["mine"].tolist() == [[1.0] * 3] * 2 + [[0.0] * 3] * 2
    assert joined["theirs"].tolist() == [0, 0, 4, 5]
    assert joined["remembered"].tolist() == [False, False, True, True]
    again = join(joined, other, 0)
    assert again["remembered"].tolist() == [False, False, True, True, True, True]
    assert sorted(one) == sorted(other)


# --- replay with the divergence from stored distributions


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def kl(stored: list[float], now: list[float], among: list[int]) -> float:
    p, q = (softmax([logits[c] for c in among]) for logits in (stored, now))
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(("setting", "new", "old"), [("class", ALL, ALL), ("task", [3, 4, 5], [0, 1, 2])])
def test_replay_with_divergence_by_hand(
    make_learner: MakeLearner, setting: str, new: list[int], old: list[int], parts: int
) -> None:
    """The teacher is the model when the task ended: its three labels, in the class setting too."""
    learner = class_learner(make_learner, setting)
    replay = strategy("replay", learner, memory_size=5, replay_batch_size=2, kl_weight=0.6)
    learner.tasks_seen = 1
    replay.after_task(learner, task_data(learner, 0, [image(0, 1, 0), image(1, 2, 0)]))
    moved = [[value + 0.4 * (c % 3) for c, value in enumerate(row)] for row in ROWS]
    set_rows(learner, moved)
    learner.tasks_seen = 2
    batch = replay.train_batch(new_batch(learner, [image(2, 3, 1)]))
    expected = cross_entropy(moved[2], 3, new) + cross_entropy(moved[0], 1, old) + cross_entropy(moved[1], 2, old)
    expected += 0.6 * sum(kl(ROWS[i], moved[i], [0, 1, 2]) for i in (0, 1))
    total = objective(learner, replay, batch, parts)
    assert total.item() == pytest.approx(expected / 3, rel=1e-5)
    total.backward()
    gradient = row_gradients(learner)
    assert bool(gradient.isfinite().all())


def test_stored_logits_are_those_of_a_copy_of_the_model(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("class", dropout=0.5)
    learner.model.train()
    replay = strategy("replay", learner, memory_size=6, kl_weight=1.0)
    examples = make_examples(learner.labels, 12)
    replay.after_task(learner, task_data(learner, 0, examples))
    assert all("logits" not in example for example in examples)
    learner.model.eval()
    first = [example["logits"].clone() for example in replay.buffer.examples]
    for example in replay.buffer.examples:
        assert torch.allclose(example["logits"], learner.logits(learner.collate([example]))[0], atol=1e-5)
    with torch.no_grad():
        learner.model.get_parameter("classifier.weight").add_(1.0)
    # What is in the memory keeps its logits; what comes later gets the later model's.
    replay.after_task(learner, task_data(learner, 1, make_examples(learner.labels, 12, task=1)))
    kept = [e["logits"] for e in replay.buffer.examples if e["task_id"] == 0]
    assert all(any(torch.equal(row, before) for before in first) for row in kept)
    assert all(e["logits"].shape == (4,) for e in replay.buffer.examples)


def test_divergence_of_equal_logits_is_0_and_of_nothing_stored() -> None:
    stored = torch.tensor([[1.0, 2.0, -math.inf], [0.0, 0.0, 0.0]])
    logits = torch.tensor([[2.0, 3.0, 9.0], [1.0, 5.0, 0.0]], requires_grad=True)
    found = divergences(stored, logits)
    assert found.tolist() == pytest.approx([0.0, 0.0], abs=1e-7)
    found.sum().backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_stored_outputs_do_not_depend_on_the_batches(
    make_learner: MakeLearner, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner("task")
    examples = make_examples(learner.labels, 9)
    whole = stored_outputs(learner, examples)
    monkeypatch.setitem(TOKEN_BUDGET, "cpu", 1)
    again = stored_outputs(learner, examples)
    for one, other in ((torch.stack(whole[0]), torch.stack(again[0])), (whole[1], again[1])):
        assert torch.allclose(one, other, atol=1e-5)
    # The other task's columns are no candidates.
    assert torch.stack(whole[0]).isfinite().tolist() == [[True, True, False, False]] * 9


# --- refused


@pytest.mark.parametrize("name", ["replay", "er_ace", "der", "agem", "gem", "gdumb"])
@pytest.mark.parametrize("size", [0, -1.0, 2.5])
def test_a_memory_of_no_size_is_refused(name: str, size: float) -> None:
    with pytest.raises(InputError) as caught:
        strategy(name, memory_size=size)
    line = f"{name}: memory_size = {size} is not allowed; allowed: a count, or a fraction below 1"
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("der", {"alpha": -0.5}, "der: alpha=-0.5, beta=0.0; allowed: numbers of 0 or more"),
        ("der", {"beta": -0.1}, "der: alpha=1.0, beta=-0.1; allowed: numbers of 0 or more"),
        ("gem", {"margin": -1.0}, "gem: margin = -1.0 is not allowed; allowed: 0 or more"),
        ("gdumb", {"epochs": 0}, "gdumb: epochs = 0 is not allowed; allowed: at least 1"),
        ("replay", {"kl_weight": -1.0}, "replay: kl_weight = -1.0 is not allowed; allowed: 0 or more"),
        ("agem", {"replay_batch_size": 0}, "agem: replay_batch_size = 0 is not allowed; allowed: at least 1"),
    ],
)
def test_impossible_arguments_are_refused(name: str, arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        strategy(name, **arguments)
    assert str(caught.value) == line


@pytest.mark.parametrize("sampling", ["reservoir", "ring", "class_balanced", "herding", "greedy_balanced"])
@pytest.mark.parametrize("size", [6, 0.3])
def test_every_memory_comes_back(sampling: Sampling, size: float) -> None:
    features = unit_vectors([float(7 * number) for number in range(20)]) if sampling == "herding" else None
    one, other = ExampleBuffer(size, sampling, 0), ExampleBuffer(size, sampling, 9)
    one.add(numbered([0, 1, 0, 1, 1] * 4), features)
    other.load_state_dict(one.state_dict())
    for buffer in (one, other):
        buffer.add(numbered([2, 2, 3, 3, 1] * 4, task=1, first=50), features)
        buffer.sample(2)
    assert numbers(one.examples) == numbers(other.examples)
    assert len(one) == (6 if size == 6 else 12)
    assert numbers(one.sample(3, task_id=1)) == numbers(other.sample(3, task_id=1))
    assert all(example["task_id"] == 1 for example in one.sample(3, task_id=1))


# --- it forgets less


LONG: dict[str, Any] = {"setting": "class"}
SHORT: dict[str, Any] = {"setting": "class", "epochs": 4, "lr": 2e-3, "head_lr": 2e-2}


@pytest.mark.parametrize(
    ("expression", "options", "margin"),
    [
        slow("replay(memory_size=0.3)", SHORT, 0.4),
        slow("replay(memory_size=0.3, kl_weight=1.0, sampling='herding')", SHORT, 0.2),
        slow("er_ace(memory_size=0.3)", SHORT, 0.2),
        # The logits alone do not help in the class setting; where all tasks share the labels they do.
        slow("der(memory_size=0.3)", {"setting": "domain"}, 0.05),
        slow("der(memory_size=0.3, beta=1.0)", SHORT, 0.08),
        slow("agem(memory_size=0.3)", LONG, 0.15),
        slow("gem(memory_size=0.3)", LONG, 0.2),
        slow("gdumb(memory_size=0.3, epochs=10)", SHORT, 0.3),
    ],
)
def test_it_forgets_less_than_naive(
    toy_forgetting: Callable[..., float], expression: str, options: dict[str, Any], margin: float
) -> None:
    assert toy_forgetting(expression, **options) < toy_forgetting("naive", **options) - margin
