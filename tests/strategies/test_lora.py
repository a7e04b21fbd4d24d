"""The LoRA strategies: what learns, how modules add up, penalties, merging, routing, ranks and what is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft.tuners.adalora import RankAllocator
from torch import Tensor, nn

from clbench.config import make_config
from clbench.data import Example
from clbench.engine.checkpoint import tensor_bytes
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.plugins.plan import make_plan
from clbench.strategy import Stack
from clbench.toolkit import adaptive_rank, lora, merging, routing
from clbench.toolkit.training import Training
from tests.helpers import Examples, MakeLearner, Weights, strategy, task_data, watched, weights
from tests.models import zoo


def fill(model: nn.Module, seed: int, part: str = "lora_", size: float = 0.3) -> None:
    """Give the modules weights, as training would."""
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if part in name:
                parameter.copy_(size * torch.randn(parameter.shape, generator=stream))


def moved(seen: Weights, task: int) -> set[str]:
    before, after = seen.before[task], seen.after[task]
    return {name for name in before if not torch.equal(before[name], after[name])}


HEAD = {"base_model.model.classifier.weight", "base_model.model.classifier.bias"}


# --- which parameters learn


def test_lora_sequential_trains_one_module_on_every_task(tmp_path: Path, toy: dict[str, Any]) -> None:
    result, seen, _ = watched("lora_sequential(rank=3)", tmp_path, toy)
    modules = {name for name in seen.before[0] if "lora_" in name}
    shapes = {tuple(seen.before[0][name].shape) for name in modules if "query" in name}
    assert shapes == {(3, 64), (64, 3)}
    assert [moved(seen, task) for task in range(3)] == [modules | HEAD] * 3
    sizes = [seen.before[0][name].numel() for name in modules | HEAD]
    assert result["cost"]["trainable_parameters"] == sum(sizes)
    # The next task goes on where the last one ended.
    assert all(torch.equal(seen.after[0][name], seen.before[1][name]) for name in seen.after[0])


@pytest.mark.parametrize("name", ["lora_incremental", "o_lora", "lora_merge", "lora_per_task(adaptive_rank=True)"])
def test_only_the_tasks_own_module_and_rows_learn(name: str, tmp_path: Path, toy: dict[str, Any]) -> None:
    _, seen, _ = watched(name, tmp_path, toy, lr=1e-3, head_lr=1e-2, setting="class", epochs=2)
    for task in range(3):
        own = {n for n in seen.before[0] if f"task{task}" in n.split(".") and "ranknum" not in n}
        assert len(own) > 20
        assert moved(seen, task) == own | HEAD
        for parameter in HEAD:
            before, after = seen.before[task][parameter], seen.after[task][parameter]
            rows = [not torch.equal(before[row], after[row]) for row in range(9)]
            assert rows == [3 * task <= row < 3 * task + 3 for row in range(9)]


def test_lora_merge_starts_every_task_from_the_pretrained_model(tmp_path: Path, toy: dict[str, Any]) -> None:
    """Also in the domain setting, where all tasks share the output layer, and after the merged weights answered."""
    _, seen, _ = watched("lora_merge(merge='mean')", tmp_path, toy, setting="domain")
    for task in range(3):
        for name, start in seen.before[0].items():
            if "lora_" not in name:
                assert torch.equal(seen.before[task][name], start), name
        assert moved(seen, task) >= HEAD


def test_nothing_is_protected_in_one_shared_module(make_learner: MakeLearner) -> None:
    """In the class setting the rows of all labels seen learn, as in naive; with a module a task only its own."""
    sequential, incremental = make_learner("class", tasks=2), make_learner("class", tasks=2)
    strategy("lora_sequential", sequential)
    strategy("lora_incremental", incremental)
    scores = torch.zeros(1, 4)
    assert sequential.mask(scores, torch.tensor([1])).isfinite().tolist() == [[True] * 4]
    assert incremental.mask(scores, torch.tensor([1])).isfinite().tolist() == [[False, False, True, True]]
    assert sequential.learning_rates["body"] == incremental.learning_rates["body"] == 1e-3


# lora_A and lora_B of rank 2 on the tiny BERT: in each of two layers four of 8 to 8 and two of 8 to 12 or 12 to 8; the
# pooler's of 8 to 8; and an output layer of 4 labels.
LEARNING = 2 * (4 * 2 * (8 + 8) + 2 * 2 * (8 + 12)) + 2 * (8 + 8) + 4 * (8 + 1)


@pytest.mark.parametrize("penalty", ["ewc", "mas", "si"])
def test_a_penalty_keeps_two_numbers_for_each_weight_of_the_module_and_none_for_a_frozen_one(
    penalty: str, make_learner: MakeLearner, make_examples: Examples
) -> None:
    assert LEARNING == 484
    learner = make_learner(tasks=2)
    adapted, held = strategy("lora_sequential", learner, rank=2), strategy(penalty, learner)
    stack = Stack([("lora_sequential", adapted), (penalty, held)])
    for position in range(2):
        task = task_data(learner, position, make_examples(learner.labels, 4, position))
        stack.before_task(learner, task)
        config = make_config({"scenario": "x", "strategy": "x", "batch_size": 4})
        Training(config, stack, learner, task, task.train).run_step()
        stack.after_steps(learner, task)
        stack.after_task(learner, task)
        assert sum(p.numel() for _, p in learner.named_parameters()) == LEARNING
        assert tensor_bytes(stack.state_dict()) == 2 * 4 * LEARNING


def test_names_of_many_modules_are_not_each_others_beginning() -> None:
    names = [lora.module_name(task, 12) for task in range(12)]
    assert names[:2] + names[-1:] == ["task00", "task01", "task11"]
    assert not any(a != b and b.startswith(a) for a in names for b in names)
    assert [lora.module_name(task, 3) for task in range(3)] == ["task0", "task1", "task2"]


# --- the stack that adds


def deltas(model: nn.Module, name: str, scale: float) -> dict[str, Tensor]:
    """(alpha / rank) · B A of a module in each layer, under the layer's name in the model before it was wrapped."""
    found = {}
    for layer, module in model.named_modules():
        if hasattr(module, "lora_A"):
            product = module.lora_B[name].weight @ module.lora_A[name].weight
            found[layer.removeprefix("base_model.model.")] = scale * product.detach()
    return found


def test_the_stacks_output_is_the_pretrained_models_with_all_deltas_added(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner = make_learner(tasks=3)
    plain = copy.deepcopy(learner.model).eval()
    incremental = strategy("lora_incremental", learner, rank=2, alpha=6.0)
    learner.model.eval()
    batch = learner.collate(make_examples(learner.labels, 5))
    assert torch.equal(learner.logits(batch), learner.logits(batch, plain))
    fill(learner.model, 1)
    answers = []
    for task in range(3):
        incremental.before_task(learner, task_data(learner, task))
        for name, delta in deltas(learner.model, f"task{task}", 3.0).items():
            plain.get_parameter(f"{name}.weight").data += delta
        answers.append(learner.logits(batch, plain))
        assert torch.allclose(learner.logits(batch), answers[-1], atol=1e-5)
    assert (answers[0] - answers[2]).abs().max() > 0.1


# --- O-LoRA


def one_layer(inputs: int = 3, labels: int = 2) -> nn.Module:
    model = nn.Module()
    model.body, model.classifier = nn.Linear(inputs, 2, bias=False), nn.Linear(2, labels)
    return model


@pytest.mark.parametrize(("penalty", "value", "gradient"), [
    # O = A_1 A_0ᵀ = (2·1 − 3·2; 5·1 + 0·2) = (−4, 5).
    ("squared", 16.0 + 25.0, [[2 * -4 * 1, 2 * -4 * 2], [2 * 5 * 1, 2 * 5 * 2]]),
    ("absolute", 4.0 + 5.0, [[-1.0, -2.0], [1.0, 2.0]]),
])  # fmt: skip
def test_o_loras_penalty_by_hand(
    make_learner: MakeLearner, penalty: str, value: float, gradient: list[list[float]]
) -> None:
    """One layer, two tasks; the first has one row of A that counts, (1, 2), and one of zeros."""
    learner = make_learner(tasks=2, model=one_layer(inputs=2, labels=4))
    orthogonal = strategy("o_lora", learner, orthogonality=0.25, penalty=penalty, rank=2)
    old, new = (learner.model.get_parameter(f"base_model.model.body.lora_A.task{task}.weight") for task in range(2))
    with torch.no_grad():
        old.copy_(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
        new.copy_(torch.tensor([[2.0, -3.0], [5.0, 0.0]]))
    for task in range(2):
        orthogonal.before_task(learner, task_data(learner, task))
        for _, parameter in learner.named_parameters():
            parameter.grad = torch.ones_like(parameter)
        orthogonal.before_step(learner)
        orthogonal.after_task(learner, task_data(learner, task))
    assert new.grad is not None
    assert new.grad.tolist() == [[1 + 0.25 * g for g in row] for row in gradient]
    assert old.grad is not None
    assert old.grad.tolist() == [[1.0, 1.0]] * 2
    assert learner.take_events() == [{"event": "orthogonality", "task": "task 1", "penalty": value}]


def test_o_loras_gradient_is_that_of_the_sum_over_layers_and_old_tasks(make_learner: MakeLearner) -> None:
    learner = make_learner(tasks=3)
    orthogonal = strategy("o_lora", learner, orthogonality=2.0, rank=3)
    fill(learner.model, 5)
    orthogonal.before_task(learner, task_data(learner, 2))
    named = {n: p for n, p in learner.named_parameters() if "lora_A" in n}
    for parameter in named.values():
        parameter.grad = torch.zeros_like(parameter)
    orthogonal.before_step(learner)
    everything = dict(learner.model.named_parameters())
    penalty = torch.zeros(())
    for name, new in named.items():
        for old in (everything[name.replace("task2", other)].detach() for other in ("task0", "task1")):
            penalty = penalty + (old @ new.T).square().sum()
    expected = torch.autograd.grad(2.0 * penalty, list(named.values()))
    for (name, parameter), gradient in zip(named.items(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-5, atol=1e-6), name
    orthogonal.after_task(learner, task_data(learner, 2))
    assert learner.take_events()[0]["penalty"] == pytest.approx(float(penalty.detach()), rel=1e-5)


def test_o_lora_without_its_penalty_is_lora_incremental_and_with_it_more_orthogonal(
    tmp_path: Path, toy: dict[str, Any]
) -> None:
    def overlaps(log: list[Any]) -> list[float]:
        return [line["penalty"] for line in log if line["event"] == "orthogonality"]

    plain, _, _ = watched("lora_incremental(learning_rate=0.003)", tmp_path, toy)
    free, _, free_log = watched("o_lora(orthogonality=0, learning_rate=0.003)", tmp_path, toy)
    held, _, held_log = watched("o_lora(orthogonality=50.0, learning_rate=0.003)", tmp_path, toy)
    assert free["accuracy_matrix"] == plain["accuracy_matrix"]
    assert len(overlaps(free_log)) == len(overlaps(held_log)) == 2
    assert all(h < 0.8 * f for h, f in zip(overlaps(held_log), overlaps(free_log), strict=True))
    assert held["accuracy_matrix"][1][0] == free["accuracy_matrix"][1][0]


# --- merging


def test_two_task_vectors_merge_by_hand() -> None:
    one, two = torch.tensor([4.0, -1.0, 0.5, 3.0]), torch.tensor([-2.0, -3.0, 6.0, 1.0])
    both = torch.stack([one, two])
    assert merging.mean(both).tolist() == [1.0, -2.0, 3.25, 2.0]
    assert merging.magnitude_max(both).tolist() == [4.0, -3.0, 6.0, 3.0]
    # Half of each is kept: (4, 0, 0, 3) and (0, −3, 6, 0); nothing disagrees.
    thresholds = torch.stack([merging.trim_threshold([v], 0.5) for v in (one, two)])
    assert thresholds.tolist() == [3.0, 3.0]
    assert merging.ties(both, thresholds).tolist() == [4.0, -3.0, 6.0, 3.0]
    # All is kept: signs of (2, −4, 6.5, 4); −2 loses, the others average.
    assert merging.ties(both, torch.zeros(2)).tolist() == [4.0, -2.0, 3.25, 2.0]
    # As much for as against: nothing is elected.
    assert merging.ties(torch.tensor([[2.0], [-2.0]]), torch.zeros(2)).tolist() == [0.0]


def ties_of_the_paper(vectors: Tensor, density: float) -> list[float]:
    """Algorithm 1 of Yadav et al. 2023, element by element; vectors (tasks, weights)."""
    count = max(1, int(density * vectors.shape[1]))
    kept = [set(row.abs().argsort(descending=True)[:count].tolist()) for row in vectors]
    merged = []
    for place in range(vectors.shape[1]):
        values = [float(row[place]) if place in kept[task] else 0.0 for task, row in enumerate(vectors)]
        sign = (sum(values) > 0) - (sum(values) < 0)
        agreeing = [value for value in values if sign and value * sign > 0]
        merged.append(sum(agreeing) / len(agreeing) if agreeing else 0.0)
    return merged


@pytest.mark.parametrize("density", [0.01, 0.2, 0.5, 1.0])
def test_ties_is_the_papers_and_trims_a_tasks_whole_vector(density: float) -> None:
    from peft.utils.merge_utils import ties

    stream = torch.Generator().manual_seed(3)
    # The second half is ten times as large: trimmed by itself, each half would keep its share.
    vectors = torch.randn(4, 60, generator=stream) * torch.tensor([0.1] * 30 + [1.0] * 30)
    parts = [vectors[:, :30].view(4, 5, 6), vectors[:, 30:].view(4, 30)]
    merged = list(merging.merged(lambda task, number: parts[number][task], 4, 2, "ties", density))
    assert [tuple(part.shape) for part in merged] == [(5, 6), (30,)]
    found = torch.cat([part.flatten() for part in merged])
    assert found.tolist() == pytest.approx(ties_of_the_paper(vectors, density), rel=1e-5)
    if 0.2 <= density < 1:
        assert torch.allclose(found, ties(list(vectors), torch.ones(4), density))


@pytest.mark.parametrize("setting", ["task", "domain"])
@pytest.mark.parametrize("merge", ["mean", "ties", "magnitude_max"])
def test_the_merged_weights_answer_for_all_tasks(
    make_learner: MakeLearner, make_examples: Examples, setting: str, merge: str
) -> None:
    learner = make_learner(setting, tasks=2)
    plain = copy.deepcopy(learner.model).eval()
    merger = strategy("lora_merge", learner, merge=merge, density=0.3, scale=0.5, rank=2, alpha=6.0)
    batch = learner.collate(make_examples(learner.labels, 5))
    learner.model.eval()
    assert torch.equal(merger.predict(learner, batch, None), learner.logits(batch, plain))
    vectors: list[dict[str, Tensor]] = []
    for task in range(2):
        merger.before_task(learner, task_data(learner, task))
        fill(learner.model, task, f".task{task}.")
        vectors.append({f"{n}.weight": d for n, d in deltas(learner.model, f"task{task}", 3.0).items()})
        if setting == "domain":
            for number, name in enumerate(("classifier.weight", "classifier.bias")):
                parameter = dict(learner.model.named_parameters())[f"base_model.model.{name}"]
                change = torch.full_like(parameter, 0.2 * (number + 1) * (-1) ** task * (1 + task))
                parameter.data += change
                vectors[-1][name] = change
        merger.after_task(learner, task_data(learner, task))
        merger.predict(learner, batch, task)
    names = list(vectors[0])
    flat = torch.stack([torch.cat([v[n].flatten() for n in names]) for v in vectors])
    if merge == "ties":
        merged = torch.tensor(ties_of_the_paper(flat, 0.3))
    else:
        merged = flat.mean(0) if merge == "mean" else torch.where(flat[0].abs() >= flat[1].abs(), flat[0], flat[1])
    for name, part in zip(names, merged.split([vectors[0][n].numel() for n in names]), strict=True):
        parameter = dict(plain.named_parameters())[name]
        parameter.data += 0.5 * part.view_as(parameter)
    for task_id in (0, 1, None):
        assert torch.allclose(merger.predict(learner, batch, task_id), learner.logits(batch, plain), atol=1e-4)
    # A resumed run makes the same merged weights from the modules and what was saved.
    other = make_learner(setting, tasks=2)
    again = strategy("lora_merge", other, merge=merge, density=0.3, scale=0.5, rank=2, alpha=6.0)
    again.load_state_dict(copy.deepcopy(merger.state_dict()))
    kept = {n: v for n, v in learner.model.state_dict().items() if "lora_" in n}
    other.model.load_state_dict(kept, strict=False)
    other.model.eval()
    assert torch.equal(again.predict(other, batch, None), merger.predict(learner, batch, None))


# --- routers


@pytest.mark.parametrize("rule", ["confidence", "entropy", "prototype"])
def test_the_chosen_module_answers_and_the_accuracy_is_noted(
    make_learner: MakeLearner, make_examples: Examples, rule: str
) -> None:
    learner = make_learner("class", tasks=3, width=3)
    learner.tasks_seen = 0
    plain = copy.deepcopy(learner.model).eval()
    router = strategy("lora_per_task", learner, rank=2, router=rule)
    fill(learner.model, 1, size=0.8)
    dev: list[Example] = []
    for task in range(2):
        learner.tasks_seen = task + 1
        data = task_data(
            learner, task, make_examples(learner.labels, 8, task), make_examples(learner.labels, 6, task, 1)
        )
        dev += data.dev
        router.before_task(learner, data)
        learner.model.train()
        router.after_task(learner, data)
        assert learner.model.training
        assert {n for n, _ in learner.named_parameters()} == {
            n for n, _ in learner.model.named_parameters() if f".task{task}." in n or "classifier" in n
        }
    learner.model.eval()
    batch = learner.collate(dev)
    chosen = [expected_task(learner, router, plain, rule, make_examples, example) for example in dev]
    assert len(set(chosen)) == 2
    found = router.predict(learner, {**batch, "task_ids": torch.zeros_like(batch["task_ids"])}, None)
    for number, task in enumerate(chosen):
        own = router.predict(learner, batch, task)[number]
        columns = list(learner.labels.columns[task])
        assert torch.allclose(found[number, columns], own[columns].log_softmax(-1), atol=1e-5)
        assert found[number].isfinite().sum() == 3
    notes = learner.take_events()
    right = sum(task == example["task_id"] for task, example in zip(chosen, dev, strict=True))
    assert [(note["event"], note["task"], note["router"]) for note in notes] == [
        ("routing", "task 0", rule),
        ("routing", "task 1", rule),
    ]
    assert [note["accuracy"] for note in notes] == [1.0, pytest.approx(right / 12)]
    # What a resumed run needs: the class means and the examples to be measured on.
    again = strategy("lora_per_task", make_learner("class", tasks=3, width=3), rank=2, router=rule)
    again.load_state_dict(json_and_back(router.state_dict()))
    assert len(again.router.means) == (2 if rule == "prototype" else 0)
    assert again.router.usual == router.router.usual
    assert all(torch.equal(a, b) for a, b in zip(again.router.means, router.router.means, strict=True))
    assert [e["input_ids"].tolist() for e in again.router.dev] == [e["input_ids"].tolist() for e in dev]
    assert [e["task_id"] for e in again.router.dev] == [0] * 6 + [1] * 6


def json_and_back(state: dict[str, Any]) -> dict[str, Any]:
    """As a checkpoint does it; tensors pass."""
    state["router"] |= {key: json.loads(json.dumps(state["router"][key])) for key in ("tokens", "tasks", "usual")}
    return state


def expected_task(
    learner: Learner, router: Any, plain: nn.Module, rule: str, make_examples: Examples, example: Example
) -> int:
    """The choice for one example, from one module's answers after the other."""
    if rule == "prototype":
        body: Any = plain

        def mean_state(text: Example) -> Tensor:
            with torch.no_grad():
                mean: Tensor = body.bert(text["input_ids"][None]).last_hidden_state[0].mean(0)
            return mean

        feature = mean_state(example)
        distance = {}
        for task in range(2):
            train = make_examples(learner.labels, 8, task)
            for column in learner.labels.columns[task]:
                mean = torch.stack([mean_state(e) for e in train if e["label"] == column]).mean(0)
                distance[task, column] = float((feature - mean).norm())
        return min(distance, key=lambda key: distance[key])[0]

    @torch.no_grad()
    def score(text: Example, task: int) -> float:
        logits = router.predict(learner, learner.collate([text]), task)[0, list(learner.labels.columns[task])]
        odds = logits.double().softmax(-1)
        if rule == "confidence":
            return float((odds.max() / (1 - odds.max())).log())
        return -float((-(odds * odds.log()).sum()).log())

    scores = []
    for task in range(2):
        dev = make_examples(learner.labels, 6, task, 1)
        scores.append(score(example, task) - sum(score(e, task) for e in dev) / 6)
    return scores.index(max(scores))


def test_the_oracle_needs_the_task_id(make_learner: MakeLearner) -> None:
    with pytest.raises(InputError) as caught:
        strategy("lora_per_task", make_learner("class"), router="oracle")
    assert str(caught.value) == (
        "lora_per_task: router = 'oracle' needs the task id, which setting 'class' does not give; allowed: confidence, "
        "entropy, prototype"
    )
    strategy("lora_per_task", make_learner("task"), router="oracle")


def test_routing_accuracy_stands_in_the_log_of_the_class_setting_only(tmp_path: Path, toy: dict[str, Any]) -> None:
    _, _, log = watched("lora_per_task(router='prototype')", tmp_path, toy, setting="class")
    noted = [line for line in log if line["event"] == "routing"]
    assert [line["after_task"] for line in noted] == [1, 2, 3]
    assert noted[0]["accuracy"] == 1.0
    assert all(0 <= line["accuracy"] <= 1 for line in noted)
    _, _, log = watched("lora_per_task(router='oracle')", tmp_path, toy)
    assert not [line for line in log if line["event"] == "routing"]


# --- adaptive rank


def adaptive(learner: Learner, rank: int = 2) -> adaptive_rank.AdaptiveRank:
    targets = lora.target_layers("lora_per_task", learner, ("query", "value"))
    model, names = lora.add_task_modules(learner, lambda: adaptive_rank.adaptive_settings(targets, rank, 4.0), 1e-3)
    return adaptive_rank.AdaptiveRank(model, names)


CONFIG = make_plan({"scenario": "toy", "strategy": "lora_per_task", "batch_size": 4, "epochs": 5}).config


def adapt(learner: Learner, ranks: adaptive_rank.AdaptiveRank, steps: range) -> list[int]:
    """Steps of plain descent on random gradients; the total rank after each."""
    totals = []
    for step in steps:
        stream = torch.Generator().manual_seed(step)
        for _, parameter in learner.named_parameters():
            parameter.grad = torch.randn(parameter.shape, generator=stream)
        ranks.before_step(learner)
        with torch.no_grad():
            for _, parameter in learner.named_parameters():
                assert parameter.grad is not None
                parameter.sub_(parameter.grad, alpha=0.1)
                parameter.grad = None
        ranks.after_step(learner)
        totals.append(sum(int(p.count_nonzero()) for n, p in learner.named_parameters() if "lora_E" in n))
    return totals


def test_the_rank_budget_falls_to_the_target(make_learner: MakeLearner, make_examples: Examples) -> None:
    """Four layers, mean rank 2 from 3; 20 steps, of which the first 2 and the last 4 do not change the budget."""
    learner = make_learner(tasks=2)
    ranks = adaptive(learner)
    train = make_examples(learner.labels, 16, 1)
    data = task_data(learner, 1, train)
    lora.use_module(ranks.model, "task1")
    lora.learn_only(learner, "task1")
    ranks.before_task(learner, data)
    ranks.train(learner, data, CONFIG)
    totals = adapt(learner, ranks, range(20))
    # Zhang et al. 2023, equation 12: 8 + (12 − 8) (1 − (t − 2) / (20 − 4 − 2))³.
    budgets = [12, 12] + [8 + int(4 * (1 - (t - 2) / 14) ** 3) for t in range(3, 17)] + [8] * 4
    assert totals == budgets
    assert all(parameter.grad is None for _, parameter in learner.named_parameters() if "lora_" in _)
    ranks.after_task(learner, data)
    note = learner.take_events()[0]
    assert (note["event"], note["task"], len(note["ranks"]), sum(note["ranks"])) == ("ranks", "task 1", 4, 8)


def test_ranks_are_allocated_as_pefts_own_allocator_does(
    make_learner: MakeLearner, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which waits for the device where ours does not."""

    def learned(allocator: Any) -> dict[str, Tensor]:
        monkeypatch.setattr(adaptive_rank, "_Allocator", allocator)
        learner = make_learner(tasks=2)
        ranks = adaptive(learner)
        data = task_data(learner, 0, make_examples(learner.labels, 16))
        lora.learn_only(learner, "task0")
        ranks.before_task(learner, data)
        ranks.train(learner, data, CONFIG)
        adapt(learner, ranks, range(20))
        return weights(learner)

    ours, theirs = learned(adaptive_rank._Allocator), learned(RankAllocator)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_adaptive_ranks_go_on_exactly_after_a_resume(make_learner: MakeLearner, make_examples: Examples) -> None:
    def begin() -> tuple[Learner, adaptive_rank.AdaptiveRank]:
        learner = make_learner(tasks=2)
        ranks = adaptive(learner)
        data = task_data(learner, 0, make_examples(learner.labels, 16))
        ranks.before_task(learner, data)
        ranks.train(learner, data, CONFIG)
        return learner, ranks

    learner, ranks = begin()
    adapt(learner, ranks, range(9))
    other, again = begin()
    again.load_state_dict(copy.deepcopy(ranks.state_dict()))
    other.model.load_state_dict(copy.deepcopy(learner.model.state_dict()))
    assert adapt(learner, ranks, range(9, 20)) == adapt(other, again, range(9, 20))
    assert all(torch.equal(a, b) for a, b in zip(weights(learner).values(), weights(other).values(), strict=True))


def test_adaptive_ranks_regularisation_by_hand(make_learner: MakeLearner) -> None:
    """A = 2I and B = 0 in both layers: ‖4I − I‖ = 3√3 for A and ‖−I‖ = √3 for B: half of the mean, 2√3, counts."""
    learner = make_learner(tasks=1)
    ranks = adaptive(learner)
    with torch.no_grad():
        for name, parameter in learner.model.named_parameters():
            if "lora_A" in name:
                parameter.copy_(2 * torch.eye(3, 8))
            if "lora_B" in name:
                parameter.zero_()
    loss = ranks.loss(learner, {}, torch.zeros(1))
    assert loss is not None
    assert float(loss) == pytest.approx(0.5 * 2 * 3**0.5)


def test_adaptive_rank_needs_two_steps(tmp_path: Path, toy: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        watched("lora_per_task(adaptive_rank=True)", tmp_path, toy, batch_size=64, epochs=1)
    assert str(caught.value) == "adaptive_rank = True with 1 step for task 'kitchen'; allowed: 2 steps or more"


def test_adaptive_rank_forgets_nothing_and_ends_at_its_rank(tmp_path: Path, toy: dict[str, Any]) -> None:
    result, _, log = watched("lora_per_task(rank=4, adaptive_rank=True)", tmp_path, toy, epochs=3)
    assert result["metrics"]["forgetting"] == 0.0
    ranks = [line["ranks"] for line in log if line["event"] == "ranks"]
    assert [(len(found), sum(found)) for found in ranks] == [(13, 4 * 13)] * 3
    assert max(ranks[0]) > min(ranks[0])


# --- 4 bits and bad arguments


def test_4_bits_are_refused_without_a_gpu_and_bitsandbytes(
    make_learner: MakeLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner()

    def line(found: bool, cuda: bool, device: str | None = None) -> str:
        monkeypatch.setattr(lora, "is_installed", lambda _: found)
        monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
        with pytest.raises(InputError) as caught:
            lora.check_quantization("lora_per_task", "4bit", torch.device(device) if device else None)
        return str(caught.value)

    start, end = "lora_per_task: quantization = '4bit' cannot be had, ", "; allowed here: None"
    assert line(False, False) == f"{start}bitsandbytes is not installed and no CUDA GPU is here{end}"
    assert line(True, False) == f"{start}no CUDA GPU is here{end}"
    assert line(False, True) == f"{start}bitsandbytes is not installed{end}"
    assert line(True, True, "cpu") == f"{start}the run is on cpu{end}"
    lora.check_quantization("lora_per_task", "4bit", torch.device("cuda"))
    # The run's device is known in setup only.
    with pytest.raises(InputError, match="the run is on cpu"):
        strategy("lora_per_task", learner, quantization="4bit")


def test_4_bits_are_refused_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="quantization = '4bit' cannot be had"):
        make_plan({"scenario": "toy", "strategy": "lora_per_task(quantization='4bit')"})


def test_4_bits_are_for_torchs_linear_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPT-2's hold their weights the other way round."""
    model = zoo.make("GPT2")
    monkeypatch.setattr("importlib.import_module", lambda *_: SimpleNamespace(Linear4bit=None))
    with pytest.raises(InputError, match=r"transformer.h.0.attn.c_attn is a Conv1D; allowed: None"):
        lora.quantize_4bit(model, ["transformer.h.0.attn.c_attn"], "fp32")


def test_4_bits_keep_the_answers_close() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    model = nn.Sequential(nn.Linear(64, 64))
    inputs = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    exact = model(inputs)
    lora.quantize_4bit(model, ["0"], "fp32")
    assert isinstance(model[0], bitsandbytes.nn.Linear4bit)
    assert model[0].weight.dtype == torch.uint8
    assert 0 < (model(inputs) - exact).abs().max() < 0.5 * exact.std()


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("lora_sequential", {"rank": 0}, "lora_sequential: rank=0, alpha=16.0, learning_rate=0.001; allowed: number"),
        ("lora_incremental", {"alpha": 0.0}, "lora_incremental: rank=8, alpha=0.0, learning_rate=0.001; allowed: num"),
        ("o_lora", {"learning_rate": -1.0}, "o_lora: rank=8, alpha=16.0, learning_rate=-1.0; allowed: numbers above 0"),
        ("o_lora", {"orthogonality": -0.5}, "o_lora: orthogonality=-0.5 is not allowed; allowed: 0 or more"),
        ("o_lora", {"penalty": "cubed"}, "cubed"),
        ("lora_merge", {"density": 1.5}, "lora_merge: density=1.5 is not allowed; allowed: above 0, at most 1"),
        ("lora_merge", {"scale": 0.0}, "lora_merge: scale=0.0, rank=8, alpha=16.0, learning_rate=0.003; allowed: num"),
        ("lora_merge", {"merge": "sum"}, "sum"),
        ("lora_per_task", {"router": "oracel"}, "oracel"),
        ("lora_per_task", {"quantization": "8bit"}, "8bit"),
    ],
)
def test_bad_arguments_are_one_line(name: str, arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        strategy(name, **arguments)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["lora_sequential", "lora_incremental", "o_lora", "lora_merge"])
def test_the_layers_to_wrap_can_be_named(make_learner: MakeLearner, name: str) -> None:
    learner = make_learner()
    strategy(name, learner, target_modules=("attention.self.query",))
    wrapped = {layer.rsplit(".", 1)[-1] for layer in lora.lora_layers(learner.model)}
    assert wrapped == {"query"}
    with pytest.raises(
        InputError, match=rf"{name}: target_modules = \('nosuch',\) match no layer; allowed: dense, key"
    ):
        strategy(name, make_learner(), target_modules=("nosuch",))


# --- forgetting


@pytest.mark.slow
def test_o_lora_forgets_less_than_naive_where_tasks_have_rows_of_their_own(
    toy_forgetting: Callable[..., float],
) -> None:
    assert toy_forgetting("o_lora") < toy_forgetting("naive") - 0.05


@pytest.mark.slow
def test_lora_merge_forgets_less_than_naive(toy_forgetting: Callable[..., float]) -> None:
    assert toy_forgetting("lora_merge", setting="domain") < toy_forgetting("naive", setting="domain") - 0.08


def test_the_class_means_leave_out_a_label_without_examples(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("class", tasks=2, width=2)
    built = strategy("lora_per_task", learner, router="prototype")
    examples = [example for example in make_examples(learner.labels, 6) if example["label"] == 0]
    means = routing.class_means(learner, built.layers, task_data(learner, 0, examples))
    assert means.shape[0] == 1
    assert bool(means.isfinite().all())


# --- how a module begins


@pytest.mark.parametrize("init", ["lora", "gaussian", "orthogonal", "pissa", "olora"])
def test_the_model_begins_as_it_was(init: str, make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    plain = copy.deepcopy(learner.model).eval()
    strategy("lora_sequential", learner, rank=2, alpha=6.0, init=init)
    learner.model.eval()
    batch = learner.collate(make_examples(learner.labels, 5))
    assert torch.allclose(learner.logits(batch), learner.logits(batch, plain), atol=1e-5)
    found = deltas(learner.model, "shared", 3.0)
    name = "bert.pooler.dense"
    weight, delta = plain.get_parameter(f"{name}.weight"), found[name]
    if init == "pissa":
        u, s, v = torch.linalg.svd(weight)
        assert torch.allclose(delta, u[:, :2] @ torch.diag(s[:2]) @ v[:2], atol=1e-4)
    elif init == "olora":
        q, r = torch.linalg.qr(weight)
        assert torch.allclose(delta, 3.0 * q[:, :2] @ r[:2], atol=1e-4)
    else:
        assert delta.abs().max() < 1e-6


def test_an_odd_rank_has_no_orthogonal_halves() -> None:
    with pytest.raises(InputError, match="lora_sequential: rank=3, init='orthogonal'; allowed: an even rank"):
        strategy("lora_sequential", rank=3, init="orthogonal")
