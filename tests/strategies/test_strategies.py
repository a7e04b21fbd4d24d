"""Each strategy against its formula: gradients, losses, batches, states, what stays as it was and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench.data import Batch, TaskData, concatenate
from clbench.engine.checkpoint import tensor_bytes
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.plugins.plan import make_plan
from clbench.rng import generator
from clbench.strategy import Stack, Strategy
from clbench.toolkit.fisher import diagonal_fisher
from tests.helpers import Examples, MakeLearner, RunToy, strategy, task_data, watched, weights


def shake(model: nn.Module, seed: int, size: float = 0.3) -> None:
    """Move every learning weight, as training would."""
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(size * torch.randn(parameter.shape, generator=stream))


# --- EWC


def learn_three_tasks(
    ewc: Any, learner: Learner, make_examples: Examples, count: int = 3
) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Move the weights and tell EWC, for each task; each task's own Fisher and weights, computed apart."""
    seen = []
    for position in range(count):
        shake(learner.model, position)
        examples = make_examples(learner.labels, 6, task=position)
        stream = generator(learner.seed, "fisher", position)
        chosen = torch.randperm(6, generator=stream)[: ewc.fisher_samples].tolist()
        fisher = diagonal_fisher(learner, [examples[i] for i in chosen], ewc.fisher, stream)
        seen.append((fisher, weights(learner)))
        ewc.after_task(learner, task_data(learner, position, examples))
    return seen


@pytest.mark.parametrize("kind", ["sampled", "empirical", "exact"])
def test_ewc_equals_the_sum_of_separate_penalties(
    make_learner: MakeLearner, make_examples: Examples, kind: str
) -> None:
    learner = make_learner(tasks=4)
    ewc = strategy("ewc", learner, ewc_lambda=7.0, fisher=kind, fisher_samples=4)
    seen = learn_three_tasks(ewc, learner, make_examples)
    shake(learner.model, 99)
    named = dict(learner.named_parameters())
    penalty = torch.zeros((), dtype=torch.float64)
    for fisher, optimum in seen:
        for name, parameter in named.items():
            penalty = penalty + (fisher[name].double() * (parameter.double() - optimum[name].double()).square()).sum()
    expected = torch.autograd.grad(0.5 * 7.0 * penalty, list(named.values()))
    for parameter in named.values():
        parameter.grad = torch.ones_like(parameter)
    ewc.before_step(learner)
    scale = max(float(gradient.abs().max()) for gradient in expected)
    assert scale > 1
    for (name, parameter), gradient in zip(named.items(), expected, strict=True):
        assert parameter.grad is not None
        error = float((parameter.grad.double() - 1 - gradient).abs().max())
        # fp32 rounds the 1 that stood there before to 1.2e-7.
        assert error <= 1e-6 * max(1.0, float(gradient.abs().max())), name


def test_ewc_folds_by_hand(make_learner: MakeLearner) -> None:
    """Two tasks with F = 1 at θ = 0 and F = 3 at θ = 4: A = 4, c = 3."""
    learner = make_learner(model=nn.Linear(1, 4, bias=False))
    ewc = strategy("ewc", learner, ewc_lambda=2.0)
    fold(ewc, learner, [(1.0, 0.0), (3.0, 4.0)])
    assert ewc.importance["weight"].tolist() == [[4.0]] * 4
    assert ewc.centre["weight"].tolist() == [[3.0]] * 4
    learner.model.get_parameter("weight").data.fill_(5.0)
    learner.model.get_parameter("weight").grad = torch.zeros(4, 1)
    ewc.before_step(learner)
    # λ A (θ − c) = 2 · 4 · (5 − 3), which is 2 · (1 · (5 − 0) + 3 · (5 − 4)).
    assert gradient_of(learner).tolist() == [[16.0]] * 4


def gradient_of(learner: Learner) -> Tensor:
    gradient = learner.model.get_parameter("weight").grad
    assert gradient is not None
    return gradient


def fold(ewc: Any, learner: Learner, tasks: list[tuple[float, float]]) -> None:
    """Give EWC tasks with a constant Fisher at constant weights."""
    import sys

    module = sys.modules[type(ewc).__module__]
    for position, (fisher, value) in enumerate(tasks):
        learner.model.get_parameter("weight").data.fill_(value)
        constant = {"weight": torch.full((4, 1), fisher)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "diagonal_fisher", lambda *_, constant=constant: constant)
            ewc.after_task(learner, task_data(learner, position, [{}]))


def test_ewc_with_decay_by_hand(make_learner: MakeLearner) -> None:
    """Online EWC: the past Fisher is multiplied by the decay, the centre is the newest weights."""
    learner = make_learner(tasks=4, width=1, model=nn.Linear(1, 4, bias=False))
    ewc = strategy("ewc", learner, decay=0.5)
    fold(ewc, learner, [(1.0, 0.0), (3.0, 4.0), (1.0, -2.0)])
    # ((1 · ½ + 3) · ½) + 1 at the last weights.
    assert ewc.importance["weight"].tolist() == [[2.75]] * 4
    assert ewc.centre["weight"].tolist() == [[-2.0]] * 4


def test_ewc_where_nothing_was_measured_nothing_pulls(make_learner: MakeLearner) -> None:
    learner = make_learner(model=nn.Linear(1, 4, bias=False))
    ewc = strategy("ewc", learner)
    fold(ewc, learner, [(0.0, 1.0), (0.0, 2.0)])
    assert ewc.centre["weight"].isfinite().all()
    learner.model.get_parameter("weight").grad = torch.zeros(4, 1)
    ewc.before_step(learner)
    assert gradient_of(learner).tolist() == [[0.0]] * 4


def test_ewc_before_the_first_task_ended_adds_nothing(make_learner: MakeLearner) -> None:
    learner = make_learner(model=nn.Linear(1, 4))
    for parameter in learner.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    strategy("ewc", learner).before_step(learner)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in learner.model.parameters() if p.grad is not None)


def test_ewcs_memory_does_not_grow_with_tasks(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner(tasks=4)
    ewc = strategy("ewc", learner, fisher_samples=3)
    sizes = []
    for position in range(4):
        ewc.after_task(learner, task_data(learner, position, make_examples(learner.labels, 4, task=position)))
        sizes.append(tensor_bytes(ewc.state_dict()))
    learning = sum(p.numel() for _, p in learner.named_parameters())
    assert sizes == [2 * 4 * learning] * 4


def test_ewc_does_not_alias_live_weights(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    ewc = strategy("ewc", learner)
    ewc.after_task(learner, task_data(learner, 0, make_examples(learner.labels, 4)))
    before = {name: value.clone() for name, value in ewc.centre.items()}
    shake(learner.model, 1)
    assert all(torch.equal(ewc.centre[name], before[name]) for name in before)


# --- distillation


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


class Fixed(nn.Module):
    """The same logits for every image: a row of weights."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.classifier = nn.Parameter(torch.tensor(logits))
        self.dropout = nn.Dropout(0.5)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.classifier.expand(len(pixel_values), -1))


OLD, NEW = [1.0, -1.0, 0.5, 2.0, 0.0, 3.0], [0.0, 0.5, 0.5, -1.0, 9.0, -9.0]
T = 2.0


def divergence(columns: list[int]) -> float:
    teacher, student = ([logits[c] / T for c in columns] for logits in (OLD, NEW))
    return kl(softmax(teacher), softmax(student))


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("task", (divergence([0, 1]) + divergence([2, 3])) / 2),
        ("class", divergence([0, 1, 2, 3])),
    ],
)
def test_distillation_by_hand(make_learner: MakeLearner, setting: str, expected: float) -> None:
    """alpha · T² · KL(teacher ‖ student) over the labels of the two tasks learned, the third being trained."""
    learner = make_learner(setting, tasks=3, model=Fixed(OLD))
    distillation = strategy("distillation", learner, temperature=T, alpha=0.7)
    learner.tasks_seen = 2
    distillation.after_task(learner, task_data(learner, 1, []))
    learner.tasks_seen = 3
    batch = {"pixel_values": torch.zeros(5, 1, 1, 1), "labels": torch.zeros(5), "task_ids": torch.zeros(5)}
    student = torch.tensor([NEW] * 5)
    assert float(distillation.loss(learner, batch, student)) == pytest.approx(0.7 * T**2 * expected, rel=1e-5)
    distillation.alpha_grows = True  # two tasks are old
    assert float(distillation.loss(learner, batch, student)) == pytest.approx(2 * 0.7 * T**2 * expected, rel=1e-5)


def test_distillation_in_the_domain_setting_is_over_the_shared_labels(make_learner: MakeLearner) -> None:
    learner = make_learner("domain", tasks=3, width=6, model=Fixed(OLD))
    distillation = strategy("distillation", learner, temperature=T)
    learner.tasks_seen = 1
    distillation.after_task(learner, task_data(learner, 0, []))
    batch = {"pixel_values": torch.zeros(2, 1, 1, 1), "labels": torch.zeros(2), "task_ids": torch.zeros(2)}
    expected = T**2 * divergence(list(range(6)))
    assert float(distillation.loss(learner, batch, torch.tensor([NEW] * 2))) == pytest.approx(expected, rel=1e-5)


def test_distillation_needs_a_task_before(make_learner: MakeLearner) -> None:
    learner = make_learner(model=Fixed(OLD[:4]))
    distillation = strategy("distillation", learner)
    batch = {"pixel_values": torch.zeros(2, 1, 1, 1), "labels": torch.zeros(2), "task_ids": torch.zeros(2)}
    assert distillation.loss(learner, batch, learner.logits(batch)) is None
    assert tensor_bytes(distillation.state_dict()) == 0


def test_the_teacher_is_frozen_in_eval_mode_and_a_copy(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner(dropout=0.5)
    learner.model.train()
    distillation = strategy("distillation", learner)
    examples = make_examples(learner.labels, 8)
    distillation.after_task(learner, task_data(learner, 0, examples))
    teacher = distillation.teacher
    assert learner.model.training
    assert all(parameter.requires_grad for parameter in learner.model.parameters())
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    batch = learner.collate(examples)
    target = learner.logits(batch, teacher).detach()
    logits = learner.logits(batch)
    loss = distillation.loss(learner, batch, logits)
    loss.backward()
    optimizer = torch.optim.SGD(learner.model.parameters(), lr=10.0)
    optimizer.step()
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    live = {value.data_ptr() for value in learner.model.state_dict().values()}
    assert live.isdisjoint(value.data_ptr() for value in teacher.state_dict().values())
    # Twice the same target: no dropout in the teacher.
    assert torch.equal(learner.logits(batch, teacher), target)


def test_the_teacher_that_comes_back_is_the_same(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    one, other = strategy("distillation", learner), strategy("distillation", learner)
    one.after_task(learner, task_data(learner, 0, []))
    state = one.state_dict()
    shake(learner.model, 5)
    other.load_state_dict(state)
    batch = learner.collate(make_examples(learner.labels, 4, task=1))
    losses = [each.loss(learner, batch, learner.logits(batch)) for each in (one, other)]
    assert losses[0] > 0
    assert torch.equal(losses[0], losses[1])
    assert not any(p.requires_grad for p in other.teacher.parameters())


# --- replay


def test_replays_batch_is_the_new_one_and_remembered_ones(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    learner.padding_id = 0
    replay = strategy("replay", learner, memory_size=8, replay_batch_size=5)
    old, new = make_examples(learner.labels, 20), make_examples(learner.labels, 4, task=1)
    batch = learner.collate(new)
    assert replay.train_batch(batch) is batch
    replay.after_task(learner, task_data(learner, 0, old))
    known = {tuple(example["input_ids"].tolist()): example["label"] for example in old}
    drawn = set()
    for _ in range(20):
        mixed = replay.train_batch(batch)
        assert mixed["labels"].tolist()[:4] == [example["label"] for example in new]
        assert mixed["task_ids"].tolist() == [1] * 4 + [0] * 5
        texts = [
            tuple(ids[mask.bool()].tolist())
            for ids, mask in zip(mixed["input_ids"], mixed["attention_mask"], strict=True)
        ]
        assert texts[:4] == [tuple(example["input_ids"].tolist()) for example in new]
        assert [known[text] for text in texts[4:]] == mixed["labels"].tolist()[4:]
        assert len(set(texts[4:])) == 5
        drawn |= set(texts[4:])
    assert len(drawn) == 8


def test_replay_keeps_the_share_or_the_count(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    kept = []
    for size in (0.1, 15):
        replay = strategy("replay", learner, memory_size=size)
        for position in range(2):
            replay.after_task(learner, task_data(learner, position, make_examples(learner.labels, 40, task=position)))
        kept.append(len(replay.buffer))
    assert kept == [8, 15]


def test_replays_memory_comes_back(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    one, other = strategy("replay", learner, memory_size=8), strategy("replay", make_learner(seed=4), memory_size=8)
    one.after_task(learner, task_data(learner, 0, make_examples(learner.labels, 20)))
    batch = learner.collate(make_examples(learner.labels, 4, task=1))
    one.train_batch(batch)
    other.load_state_dict(one.state_dict())
    for _ in range(3):
        mine, theirs = one.train_batch(batch), other.train_batch(batch)
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


# --- runs


def test_lora_per_task_forgets_nothing_and_touches_nothing_old(tmp_path: Path) -> None:
    result, seen, _ = watched(
        "lora_per_task(learning_rate=0.01)", tmp_path, epochs=8, lr=2e-3, head_lr=2e-2, batch_size=8
    )
    matrix = result["accuracy_matrix"]
    assert result["metrics"]["forgetting"] == 0.0
    assert result["metrics"]["backward_transfer"] == 0.0
    for task in range(3):
        assert len({matrix[row][task] for row in range(task + 1, 4)}) == 1
    # It does learn, so that there was something to forget.
    assert result["metrics"]["learning_accuracy"] > matrix[0][0] + 0.1
    body = [name for name in seen.start if "lora_" not in name and ".classifier." not in name]
    assert len(body) > 30
    assert all(torch.equal(seen.start[name], after[name]) for after in seen.after for name in body)
    for task in range(3):
        own = [name for name in seen.start if f".task{task}." in name]
        head = [name for name in seen.start if ".classifier." in name]
        rows = slice(3 * task, 3 * task + 3)
        assert len(own) > 10
        moved = seen.after[task]
        before = seen.after[task - 1] if task else seen.start
        assert any(not torch.equal(before[name], moved[name]) for name in own)
        assert all(torch.equal(seen.start[name], before[name]) for name in own)
        assert all(not torch.equal(before[name][rows], moved[name][rows]) for name in head)
        for later in seen.after[task + 1 :]:
            assert all(torch.equal(moved[name], later[name]) for name in own)
            assert all(torch.equal(moved[name][rows], later[name][rows]) for name in head)
    # A and B for each layer of one task, and the output layer.
    sizes = [seen.start[name].numel() for name in seen.start if ".task0." in name or ".classifier." in name]
    assert result["cost"]["trainable_parameters"] == sum(sizes)


def test_lora_per_task_in_the_class_setting_learns_among_its_own_labels(tmp_path: Path) -> None:
    result, seen, _ = watched("lora_per_task(rank=2, learning_rate=0.02)", tmp_path, setting="class", epochs=1)
    matrix = result["accuracy_matrix"]
    assert [[cell is None for cell in row] for row in matrix] == [
        [True, True, True], [False, True, True], [False, False, True], [False, False, False],
    ]  # fmt: skip
    for name in [name for name in seen.start if ".classifier." in name]:
        changed = [
            [not torch.equal(b[name][r], a[name][r]) for r in range(9)]
            for b, a in zip(seen.before, seen.after, strict=True)
        ]
        assert changed == [[3 * task <= row < 3 * task + 3 for row in range(9)] for task in range(3)]


def test_lora_per_task_names_the_layers_it_could_wrap(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        watched("lora_per_task(target_modules=('nosuch',))", tmp_path)
    assert str(caught.value) == (
        "lora_per_task: target_modules = ('nosuch',) match no layer; allowed: dense, key, query, value"
    )


def test_independent_gives_each_task_its_own_model(tmp_path: Path) -> None:
    result, seen, _ = watched("independent", tmp_path, epochs=6)
    matrix = result["accuracy_matrix"]
    for task in range(3):
        column = [row[task] for row in matrix]
        assert len(set(column[: task + 1])) == 1
        assert len(set(column[task + 1 :])) == 1
        assert column[task + 1] > column[0]
    assert result["metrics"]["forgetting"] == 0.0
    assert result["metrics"]["forward_transfer"] == 0.0
    assert all(torch.equal(seen.start[name], before[name]) for before in seen.before for name in seen.start)
    assert all(
        not torch.equal(seen.start[name], seen.after[0][name]) for name in ("classifier.weight", "classifier.bias")
    )
    size = sum(4 * value.numel() for value in seen.start.values())
    assert result["cost"]["stored_bytes"] == 3 * size


def test_independent_starts_every_task_afresh_and_answers_with_the_tasks_own_copy(make_learner: MakeLearner) -> None:
    learner = make_learner(model=Fixed([0.0] * 4))
    independent = strategy("independent", learner)
    batch = {"pixel_values": torch.zeros(1, 1, 1, 1)}
    for position, value in enumerate((5.0, 7.0)):
        data = task_data(learner, position, [])
        independent.before_task(learner, data)
        assert learner.model.get_parameter("classifier").tolist() == [0.0] * 4
        learner.model.get_parameter("classifier").data.fill_(value)
        independent.after_task(learner, data)
    for position, value in ((0, 5.0), (1, 7.0), (2, 0.0), (0, 5.0), (0, 5.0)):
        assert independent.predict(learner, batch, position).tolist() == [[value] * 4]


def test_joint_is_measured_before_and_at_the_end(tmp_path: Path) -> None:
    result, seen, _ = watched("joint", tmp_path)
    matrix = result["accuracy_matrix"]
    assert [[cell is None for cell in row] for row in matrix] == [[False] * 3, [True] * 3, [True] * 3, [False] * 3]
    assert len(seen.after) == 1
    metrics = result["metrics"]
    assert metrics["average_accuracy"] == pytest.approx(sum(matrix[3]) / 3)
    assert {name for name, value in metrics.items() if value is not None} == {"average_accuracy"}
    # Three tasks' sixty examples, three times.
    assert result["cost"]["examples_seen"] == 3 * 3 * 60


def test_frozen_never_moves_the_body(tmp_path: Path) -> None:
    result, seen, _ = watched("frozen", tmp_path)
    head = ["classifier.weight", "classifier.bias"]
    body = [name for name in seen.start if name not in head]
    for after in seen.after:
        assert all(torch.equal(seen.start[name], after[name]) for name in body)
        assert all(not torch.equal(seen.start[name], after[name]) for name in head)
    assert result["metrics"]["forgetting"] == 0.0
    assert result["cost"]["trainable_parameters"] == sum(seen.start[name].numel() for name in head)


def test_examples_seen_counts_replayed_ones(tmp_path: Path) -> None:
    result, _, _ = watched("replay(memory_size=10, replay_batch_size=4)", tmp_path, batch_size=16, epochs=2)
    # Sixty new ones in four steps an epoch; from the second task on four remembered ones a step.
    assert result["cost"]["examples_seen"] == 3 * 2 * 60 + 2 * 2 * 4 * 4


def mean_transfer(name: str, folder: Path) -> float:
    """Backward transfer on two contradicting tasks, the mean over three seeds."""
    sizes = {"train": 90, "dev": 9, "test": 40, "tasks": 2}
    options: dict[str, Any] = {"epochs": 8, "lr": 2e-3, "head_lr": 2e-2, "scenario_args": sizes}
    runs = [watched(name, folder, seed=seed, **options)[0] for seed in range(3)]
    assert sum(run["metrics"]["learning_accuracy"] for run in runs) / 3 > 0.6
    return float(sum(run["metrics"]["backward_transfer"] for run in runs) / 3)


@pytest.mark.slow
def test_replay_and_distillation_forget_less_than_naive(tmp_path: Path) -> None:
    naive = mean_transfer("naive", tmp_path)
    assert naive < -0.05
    assert mean_transfer("replay(memory_size=0.5)", tmp_path) > naive + 0.05
    assert mean_transfer("distillation(alpha=4.0)", tmp_path) > naive + 0.05


# --- stacks


class Note(Strategy):
    """Writes down which hook ran."""

    def __init__(self, name: str, notes: list[str], loss: float | None = None, answer: float | None = None) -> None:
        self.name, self.notes, self.value, self.answer = name, notes, loss, answer

    def setup(self, learner: Learner) -> None:
        self.notes.append(f"{self.name}.setup")

    def before_task(self, learner: Learner, task: TaskData) -> None:
        self.notes.append(f"{self.name}.before_task")

    def train_batch(self, batch: Batch) -> Batch:
        self.notes.append(f"{self.name}.train_batch {len(batch['labels'])}")
        return concatenate(batch, batch, 0)

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        return None if self.value is None else torch.tensor(self.value)

    def before_step(self, learner: Learner) -> None:
        self.notes.append(f"{self.name}.before_step")

    def after_step(self, learner: Learner) -> None:
        self.notes.append(f"{self.name}.after_step")

    def after_task(self, learner: Learner, task: TaskData) -> None:
        self.notes.append(f"{self.name}.after_task")

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        return None if self.answer is None else torch.tensor(self.answer)

    def state_dict(self) -> dict[str, Any]:
        return {"name": self.name}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.notes.append(f"{self.name} got {state['name']}")


def test_a_stack_runs_each_hook_in_order(make_learner: MakeLearner) -> None:
    notes: list[str] = []
    learner = make_learner(model=nn.Linear(1, 4))
    stack = Stack(
        [("a", Note("a", notes, loss=1.0)), ("b", Note("b", notes, loss=2.5, answer=7.0)), ("c", Note("c", notes))]
    )
    data = task_data(learner, 0, [])
    batch = {"labels": torch.zeros(2), "task_ids": torch.zeros(2)}
    stack.setup(learner)
    stack.before_task(learner, data)
    assert len(stack.train_batch(batch)["labels"]) == 16
    stack.before_step(learner)
    stack.after_step(learner)
    stack.after_task(learner, data)
    assert notes == [
        *("a.setup", "b.setup", "c.setup"),
        *("a.before_task", "b.before_task", "c.before_task"),
        *("a.train_batch 2", "b.train_batch 4", "c.train_batch 8"),
        *("a.before_step", "b.before_step", "c.before_step"),
        *("a.after_step", "b.after_step", "c.after_step"),
        *("a.after_task", "b.after_task", "c.after_task"),
    ]
    assert float(stack.loss(learner, batch, torch.zeros(2, 4))) == 3.5  # type: ignore[arg-type]
    assert float(stack.predict(learner, batch, None)) == 7.0  # type: ignore[arg-type]
    assert Stack([("c", Note("c", notes))]).loss(learner, batch, torch.zeros(2, 4)) is None
    notes.clear()
    stack.load_state_dict(stack.state_dict())
    assert notes == ["a got a", "b got b", "c got c"]


@pytest.mark.parametrize("expression", ["replay+ewc", "ewc+replay", "replay+distillation+ewc", "frozen+replay"])
def test_what_goes_together(expression: str) -> None:
    plan = make_plan({"scenario": "toy", "strategy": expression})
    assert [name for name, _ in plan.strategy.members] == sorted(expression.split("+"))
    assert plan.config.strategy == expression


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"strategy": "joint+lora_per_task"},
            "'joint' cannot be stacked as in 'joint+lora_per_task': joint trains on all tasks at once, so there is "
            "nothing left to remember",
        ),
        (
            {"strategy": "naive+ewc"},
            "'naive' cannot be stacked as in 'naive+ewc': naive does nothing, so a stack with it is the other strategy",
        ),
        (
            {"strategy": "ewc+lora_per_task"},
            "'lora_per_task' cannot be stacked as in 'ewc+lora_per_task': lora_per_task never overwrites an old task's "
            "weights, so there is nothing to protect",
        ),
        (
            {"strategy": "independent+replay"},
            "'independent' cannot be stacked as in 'independent+replay': independent gives every task its own model, "
            "so there is nothing to remember",
        ),
        (
            {"strategy": "replay+replay(memory_size=5)"},
            "strategy 'replay' stands twice in 'replay+replay'; allowed: each strategy once",
        ),
        (
            {"strategy": "lora_per_task", "setting": "domain"},
            "strategy 'lora_per_task' does not support setting 'domain'; allowed: task, class",
        ),
        (
            {"strategy": "independent", "setting": "class"},
            "strategy 'independent' does not support setting 'class'; allowed: task",
        ),
        (
            {"strategy": "prompt_tuning", "scenario": "digits_seq"},
            "strategy 'prompt_tuning' does not support image tasks; allowed: text, token, generation",
        ),
    ],
)
def test_what_does_not_is_refused_with_the_reason(
    options: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("clbench.models.load_model", never)
    monkeypatch.setattr("clbench.engine.preparation.load_model", never)
    with pytest.raises(InputError) as caught:
        make_plan({"scenario": "toy", **options})
    assert str(caught.value) == line


def test_a_strategys_step_is_part_of_the_run(run_toy: RunToy) -> None:
    """With a strength of 0 EWC is naive, with a huge one it is not."""
    naive, weak, strong = (
        run_toy(name)[0]
        for name in ("naive", "ewc(ewc_lambda=0.0, fisher_samples=8)", "ewc(ewc_lambda=1e9, fisher_samples=8)")
    )
    assert weak["accuracy_matrix"] == naive["accuracy_matrix"]
    strongly, plainly = run_toy("ewc(ewc_lambda=1e9, fisher_samples=8)")[1], run_toy("naive")[1]
    assert strongly.read_predictions()["confidence"] != plainly.read_predictions()["confidence"]
    assert strong["accuracy_matrix"][:2] == naive["accuracy_matrix"][:2]
