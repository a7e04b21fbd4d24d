"""Recipes that make one answer of several models or tasks: merge, ensemble, student, multi_task."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from clbench.errors import InputError
from clbench.learner import Learner
from clbench.plugins.plan import make_plan
from clbench.strategy import Stack
from clbench.toolkit import Training, diagonal_fisher, generator, stored_logits
from tests.conftest import VOCABULARY
from tests.helpers import Examples, MakeLearner, RunToy, strategy, task_data, watched, weights
from tests.models import zoo
from tests.strategies.test_recipes import config

# Each turns the engine's cross-entropy into a loss of its own, by what it is apart from it: a second one's correction
# would be of a loss that is not there any more, and below 0 unlearn.
LOSSES = [
    *(("balance(mode='class_weights')", other) for other in ("er_ace", "multi_task", "label_smoothing", "r_drop")),
    *(("label_smoothing", other) for other in ("er_ace", "der", "multi_task", "r_drop", "by_size")),
    *(("er_ace", "r_drop"), ("der", "by_size")),
]
POOLER, ROWS = "bert.pooler.dense.weight", "classifier.weight"


def move(learner: Learner, amount: float, row: int) -> None:
    """As training of a task would: the pooler, and one row of the output layer."""
    with torch.no_grad():
        learner.model.get_parameter(POOLER).add_(amount)
        learner.model.get_parameter(ROWS)[row] += amount


def merged(learner: Learner, **arguments: Any) -> Any:
    """Two tasks merged, of which the first moved weights by 1 and the second by 3."""
    merge = strategy("merge", learner, **arguments)
    for position, amount in ((0, 1.0), (1, 3.0)):
        merge.before_task(learner, task_data(learner, position))
        move(learner, amount, 2 * position if not learner.labels.shares_columns else 0)
        merge.after_task(learner, task_data(learner, position))
    return merge


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({}, 2.0), ({"scale": 0.5}, 1.0), ({"rule": "ties", "density": 1.0}, 2.0), ({"rule": "slerp"}, 2.0),
     ({"begin": "merged"}, 2.5)],
)  # fmt: skip
def test_each_task_begins_anew_and_the_merge_answers(
    arguments: dict[str, Any], expected: float, make_learner: MakeLearner
) -> None:
    """(1 + 3) / 2; from the merged weights 1 and then 1 + 3: (1 + 4) / 2. Rows of the output layer are a task's own."""
    learner = make_learner()
    start = weights(learner)
    merge = merged(learner, **arguments)
    now = weights(learner)
    assert torch.allclose(now[POOLER] - start[POOLER], torch.full_like(start[POOLER], expected), atol=1e-5)
    moved = (now[ROWS] - start[ROWS])[:, 0].tolist()
    assert moved == pytest.approx([1.0, 0.0, 3.0, 0.0], abs=1e-5)
    merge.before_task(learner, task_data(learner, 1))
    again = weights(learner)
    assert torch.equal(again[POOLER], start[POOLER] if arguments.get("begin") is None else now[POOLER])
    assert torch.equal(again[ROWS], now[ROWS])


def test_a_shared_output_layer_is_merged_too(make_learner: MakeLearner) -> None:
    learner = make_learner("domain")
    start = weights(learner)
    merge = merged(learner)
    assert (weights(learner)[ROWS] - start[ROWS])[:, 0].tolist() == pytest.approx([2.0, 0.0], abs=1e-5)
    merge.before_task(learner, task_data(learner, 1))
    assert all(torch.equal(value, start[name]) for name, value in weights(learner).items())


def test_each_tasks_fisher_weighs_its_weights(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    tasks = [task_data(learner, position, make_examples(learner.labels, 6, position)) for position in range(2)]
    merge, start = strategy("merge", learner, rule="fisher", fisher_samples=4), weights(learner)
    top, bottom = torch.zeros_like(start[POOLER]), torch.zeros_like(start[POOLER])
    for position, amount in ((0, 0.1), (1, -0.2)):
        merge.before_task(learner, tasks[position])
        move(learner, amount, 2 * position)
        stream = generator(0, "fisher", position)
        chosen = [tasks[position].train[n] for n in torch.randperm(6, generator=stream)[:4].tolist()]
        fisher = diagonal_fisher(learner, chosen, "sampled", stream)[POOLER].clamp(min=1e-12)
        top, bottom = top + amount * fisher, bottom + fisher
        merge.after_task(learner, tasks[position])
    assert torch.allclose(weights(learner)[POOLER] - start[POOLER], top / bottom, atol=1e-5)
    assert merge.state_dict()["sums"].keys() == {"weighed", "fisher"}


@pytest.mark.slow
def test_the_mean_is_that_of_independent_models(tmp_path: Path, toy: dict[str, Any]) -> None:
    """What `independent` learns of each task from the same streams, averaged."""
    _, alone, _ = watched("independent", tmp_path, toy)
    _, together, _ = watched("merge", tmp_path, toy)
    for name, found in together.after[-1].items():
        if not name.startswith("classifier"):
            assert torch.allclose(found, sum(each[name] for each in alone.after) / 3, atol=1e-6), name  # type: ignore[arg-type]


def test_an_ensemble_of_one_is_naive(run_toy: RunToy) -> None:
    alone, naive = run_toy("ensemble(members=1)")[1].read_predictions(), run_toy("naive")[1].read_predictions()
    assert alone["prediction"] == naive["prediction"]
    assert alone["confidence"] == pytest.approx(naive["confidence"], abs=1e-6)


def test_members_begin_with_other_heads_on_one_body(make_learner: MakeLearner) -> None:
    learner = make_learner()
    ensemble = strategy("ensemble", learner, members=3)
    one, other = (dict(member.named_parameters()) for member in ensemble.others)
    first = weights(learner)
    assert torch.equal(one[POOLER], first[POOLER])
    assert not torch.equal(one[ROWS], first[ROWS])
    assert not torch.equal(one[ROWS], other[ROWS])


def test_probabilities_are_averaged_among_the_candidates(
    make_learner: MakeLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(¾, ¼) and (0.1, 0.9) of the first task's two labels: (0.425, 0.575), where the mean of logits says the first."""
    learner = make_learner()
    ensemble = strategy("ensemble", learner, members=2)
    said = iter([[0.75, 0.25, 9.0, 9.0], [0.1, 0.9, 9.0, 9.0]])
    monkeypatch.setattr(learner, "logits", lambda *_: torch.tensor([next(said)]).log())
    found = ensemble.predict(learner, {"task_ids": torch.tensor([0])}, 0).exp()
    assert found[0].tolist() == pytest.approx([0.425, 0.575, 0.0, 0.0])


def test_a_student_weighs_label_and_teacher(make_learner: MakeLearner, make_examples: Examples) -> None:
    """p = (¾, ¼) and q = (½, ½) at T = 2 over two candidates, the label the second, α = ¼."""
    learner = make_learner()
    learner.tokenizer = SpecialTokens()
    student = strategy("student", learner)
    lesson = vars(inspect.getmodule(type(student)))["_Lesson"]
    (example,) = make_examples(learner.labels, 1)
    learner.new_examples = [{**example, "logits": torch.tensor([2 * math.log(3), 0.0, -math.inf, -math.inf])}]
    batch = lesson(learner, 2.0, 0.25, True).train_batch(learner.collate(learner.new_examples))
    batch["labels"] = torch.tensor([1])
    logits = torch.tensor([[1.0, 1.0, 5.0, 5.0]], requires_grad=True)
    found = learner.example_losses(logits, batch).mean() + lesson(learner, 2.0, 0.25, True).loss(learner, batch, logits)
    softened = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert found.item() == pytest.approx(0.75 * math.log(2) + 0.25 * 4 * softened, abs=1e-6)
    assert torch.autograd.grad(found, [logits])[0].isfinite().all()


class SpecialTokens:
    """As much of a tokenizer as a student asks for."""

    pad_token_id = 0

    def __len__(self) -> int:
        return VOCABULARY


def test_the_student_answers_as_its_teacher_on_what_is_kept(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    learner.tokenizer, learner.longest_text = SpecialTokens(), 16
    settings = {"memory_size": 0.75, "epochs": 40, "alpha": 1.0, "temperature": 1.0, "learning_rate": 5e-3}
    student = strategy("student", learner, **settings)
    task = task_data(learner, 0, make_examples(learner.labels, 8), make_examples(learner.labels, 4, seed=1))
    before = weights(learner)
    student.train(learner, task, config())
    student.after_task(learner, task)
    kept = student.buffer.examples
    assert len(kept) == 6
    with torch.no_grad():
        found = learner.mask(student.predict(learner, learner.collate(kept), 0), torch.zeros(6, dtype=torch.long))
    wanted = torch.stack(stored_logits(learner, kept))
    assert found.softmax(-1)[:, :2].tolist() == pytest.approx(wanted.softmax(-1)[:, :2].numpy(), abs=0.1)
    assert all(torch.equal(value, before[name]) for name, value in weights(learner).items())
    (event,) = learner.take_events()
    assert event["event"] == "student"
    assert len(event["model"]) == len(event["student"]) == 1
    assert student.deployable(learner, 0).model is student.student


def test_the_student_begins_anew_each_time(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    learner.tokenizer, learner.longest_text = SpecialTokens(), 16
    student = strategy("student", learner, memory_size=8, epochs=1)
    task = task_data(learner, 0, make_examples(learner.labels, 8))
    student.train(learner, task, config())
    student.after_task(learner, task)
    first = {name: value.clone() for name, value in student.student.state_dict().items()}
    student._distil(learner, task)
    assert all(torch.equal(value, first[name]) for name, value in student.student.state_dict().items())
    assert not all(torch.equal(value, first[name]) for name, value in student.start.items())


def test_a_student_of_other_tokens_is_refused(make_learner: MakeLearner, tmp_path: Path) -> None:
    learner = make_learner()
    folder = str(zoo.save("Bert", tmp_path / "bert"))
    learner.tokenizer = SimpleNamespace(get_vocab=lambda: {"other": 0})
    with pytest.raises(InputError, match="reads other tokens than the run's model; allowed: tiny, or one with"):
        strategy("student", learner, model=folder)
    learner.tokenizer, learner.longest_text = zoo.tokenizer(1, 0), 20_000
    reads = zoo.make("Bert").config
    learner.tokenizer = zoo.tokenizer(reads.pad_token_id, reads.eos_token_id)
    with pytest.raises(InputError, match=f"has {reads.max_position_embeddings} positions, and texts up to 20000"):
        strategy("student", learner, model=folder)
    learner.longest_text = 16
    assert sum(p.numel() for p in strategy("student", learner, model=folder).student.parameters()) > 0


def weighed(learner: Learner, counts: dict[str, int], **arguments: Any) -> Any:
    multi_task = strategy("multi_task", **arguments)
    for name, count in counts.items():
        multi_task.examples(learner, SimpleNamespace(name=name), range(count))
    multi_task.before_task(learner, task_data(learner, len(counts) - 1))
    return multi_task


def test_each_task_has_the_same_weight_in_all_its_examples(make_learner: MakeLearner) -> None:
    """One example of the first task and three of the second, of losses a and b: their mean is (a + b) / 2."""
    learner = make_learner()
    logits = torch.tensor([[0.0, 1.0, 0.0, 0.0], *[[0.0, 0.0, 2.0, 0.0]] * 3])
    batch = {"labels": torch.tensor([0, 2, 2, 2]), "task_ids": torch.tensor([0, 1, 1, 1])}
    a, b = math.log(1 + math.e), math.log(1 + math.exp(-2))
    plain = learner.example_losses(logits, batch).mean()
    counts = {"one": 1, "three": 3}
    uniform = weighed(learner, counts, weights="uniform")
    assert (plain + uniform.loss(learner, batch, logits)).item() == pytest.approx((a + b) / 2)
    assert weighed(learner, counts, weights="size").loss(learner, batch, logits) is None
    uncertain = weighed(learner, counts, weights="uncertainty")
    assert (plain + uncertain.loss(learner, batch, logits)).item() == pytest.approx((a + b) / 2)
    with torch.no_grad():
        uncertain.log_variances.copy_(torch.tensor([2 * a, 2 * b]).log())
    found = plain + uncertain.loss(learner, batch, logits)
    # exp(−log 2a) · a + ½ log 2a of each; there nothing pulls at the variances.
    assert found.item() == pytest.approx((1 + math.log(2 * a) / 2 + math.log(2 * b) / 2) / 2)
    found.backward()
    assert uncertain.log_variances.grad.tolist() == pytest.approx([0.0, 0.0], abs=1e-7)


def test_variances_learn_beside_the_model(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    learner.learning_rates = {"body": 1e-9, "head": 0.1}
    examples = make_examples(learner.labels, 4, 0) + make_examples(learner.labels, 4, 1)
    multi_task = weighed(learner, {"a": 4, "b": 4}, weights="uncertainty")
    work = Training(config(task_steps=1, batch_size=8), Stack([("multi_task", multi_task)]), learner,
                    task_data(learner, 1, examples), examples)  # fmt: skip
    batch = learner.collate(examples)
    losses = learner.example_losses(learner.logits(batch), batch).detach()
    work.run_step()
    # Adam's first step is the rate towards the better side: up where 2 L > 1.
    better = [1.0 if 2 * losses[half].mean() > 1 else -1.0 for half in (slice(0, 4), slice(4, 8))]
    assert multi_task.log_variances.tolist() == pytest.approx([0.1 * sign for sign in better], rel=1e-3)


def test_weights_by_size_are_joint(run_toy: RunToy) -> None:
    joint, own = (run_toy(name)[0]["predictions_sha256"] for name in ("joint", "multi_task(weights='size')"))
    assert joint == own


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("ewc+merge", "learns each task from the pretrained model"),
        ("ensemble+replay", "in a loop of its own"),
        ("ensemble+label_smoothing", "in a loop of its own"),
        ("joint+multi_task", "which tasks' data a step learns from"),
        ("ewc+multi_task", "trains on all tasks at once"),
        ("joint+student", "which tasks' data a step learns from"),
        ("cumulative+few_shot", "which tasks' data a step learns from"),
        ("independent+student", "each decides what answers"),
        ("few_shot+lora_sequential", "each decides which weights learn"),
        *((f"{one}+{other}", "each decides what each row's loss is") for one, other in LOSSES),
    ],
)
def test_what_would_undo_each_other_is_refused(expression: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        make_plan({"scenario": "toy", "strategy": expression, "model": "tiny"})


@pytest.mark.parametrize("expression", ["merge+student", "ewc+replay+student", "balance+early_stopping+merge",
                                        "multi_task+sam", "few_shot+replay", "freeze+multi_task"])  # fmt: skip
def test_what_means_something_together_is_allowed(expression: str) -> None:
    assert make_plan({"scenario": "toy", "strategy": expression, "model": "tiny"}).config.strategy


def test_other_weights_of_the_students_folder_are_another_run(tmp_path: Path) -> None:
    """The student is named, not loaded, by the plan."""

    def hashes() -> tuple[str, set[str]]:
        options = {"scenario": "toy", "device": "cpu", "strategy": f"student(model={str(tmp_path / 'small')!r})"}
        config = make_plan(options).config
        return config.hash8, set(config.plugin_hashes)

    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "config.json").write_text("{}")
    seen = []
    for value in (0.0, 1.0, 0.0):
        save_file({"weight": torch.full((2,), value)}, tmp_path / "small" / "model.safetensors")
        hash8, names = hashes()
        assert "strategy:student:model" in names
        seen.append(hash8)
    assert seen[0] == seen[2] != seen[1]
    plain = make_plan({"scenario": "toy", "device": "cpu", "strategy": "student"}).config
    assert set(plain.plugin_hashes) == {"scenario:toy", "strategy:student"}  # as before: tiny has no files
