"""The speed benchmarks measure what they say: the same work on both sides, the right pairs. Nothing here is timed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import (
    checkpoints,
    device_double,
    fisher,
    many_runs,
    measurements,
    parallel,
    peer_data,
    peer_tables,
    sequences,
    step_times,
    timing,
)
from benchmarks.trainer_ewc import fisher_by_loop, penalty
from benchmarks.trainer_sequence import TaskClassifier
from clbench.data import evaluation_batches
from clbench.engine import engine
from clbench.engine.checkpoint import tensor_bytes
from clbench.engine.reporter import Reporter
from clbench.plugins.plan import make_plan
from clbench.report.comparison import compare
from clbench.results.folder import RunFolder
from clbench.results.runs import find_runs
from clbench.rng import generator
from clbench.tasks.checks import check_tasks
from clbench.toolkit.fisher import diagonal_fisher

SEQUENCE = sequences.TaskSequence(
    "clbench", "naive", "same", scenario="toy", model="tiny", tasks=2, train=48, test=24, epochs=12
)
OUTCOME = sequences.Outcome(2.0, 10.0, [3.0, 4.0], [0.0, 0.0], [0.5, 0.5, 1.0], 6, 96, 72, [[0.5, 0.5]] * 3, 1, "fp32")


@pytest.fixture(scope="module")
def ours() -> sequences.Outcome:
    """clbench's own outcome."""
    return sequences.run(SEQUENCE)


def test_parts_of_a_run_are_read_from_its_log(ours: sequences.Outcome) -> None:
    assert ours.optimizer_steps == 2 * 12 * 3
    assert (ours.texts_trained, ours.texts_evaluated) == (2 * 12 * 48, 3 * 2 * 24)
    assert len(ours.train_seconds) == 2
    assert len(ours.eval_seconds) == len(ours.accuracy) == 3
    assert ours.fisher_seconds == [0.0, 0.0]
    parts = sum(ours.train_seconds) + sum(ours.eval_seconds)
    assert 0 < parts < ours.sequence_seconds
    assert ours.load_seconds > 0


@pytest.mark.parametrize("program", ["trainer", "avalanche"])
def test_peers_learn_the_same_from_the_same_batches(program: str, ours: sequences.Outcome) -> None:
    if program == "avalanche" and importlib.util.find_spec("avalanche") is None:
        pytest.skip("avalanche is not installed")
    theirs = sequences.run(replace(SEQUENCE, program=program))
    measurements.check_equal_work({SEQUENCE: [ours], replace(SEQUENCE, program=program): [theirs]})
    assert max(ours.accuracy[-1]) > 0.5  # something was learned
    assert theirs.accuracy == [pytest.approx(row) for row in ours.accuracy]
    assert len(theirs.train_seconds) == 2
    assert sum(theirs.train_seconds) + sum(theirs.eval_seconds) <= theirs.sequence_seconds


RECORDER = '''"""Notes every batch."""

from clbench import Strategy


class Recorder(Strategy):
    def setup(self, learner):
        self.learner = learner

    def train_batch(self, batch):
        self.learner.note("batch", tokens=batch["input_ids"].tolist())
        return batch
'''


def test_epoch_batches_are_those_of_the_engine(tmp_path: Path) -> None:
    strategy = tmp_path / "recorder.py"
    strategy.write_text(RECORDER)
    plan = make_plan({**SEQUENCE.options(), "strategy": str(strategy), "output_dir": str(tmp_path), "epochs": 2})
    engine.run(plan, Reporter())
    log = (engine.run_folder(plan.config).path / "log.jsonl").read_text().splitlines()
    noted = [entry["tokens"] for entry in map(json.loads, log) if entry["event"] == "batch"]
    loaded = peer_data.load(SEQUENCE)
    given = []
    for position, name in enumerate(loaded.names):
        examples = loaded.train[position]
        batches = peer_data.EpochBatches(loaded.config, name, examples)
        assert len(batches) == 3
        for _ in range(2):
            for numbers in batches:
                rows = [examples[number]["input_ids"] for number in numbers]
                given.append(nn.utils.rnn.pad_sequence(rows, batch_first=True).tolist())
    assert given == noted


def test_steps_of_any_optimizer_are_counted() -> None:
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    with sequences.steps_counted() as steps:
        torch.optim.SGD([weight], lr=0.1).step()
        torch.optim.AdamW([weight]).step()
    torch.optim.SGD([weight], lr=0.1).step()
    assert len(steps) == 2


def test_fisher_samples_keep_their_share() -> None:
    assert replace(SEQUENCE, train=600).fisher_samples == 200  # EWC's default on text_seq
    assert "fisher_samples=16" in replace(SEQUENCE, strategy="ewc").options()["strategy"]


def test_the_peers_get_clbenchs_default_strength_of_ewc() -> None:
    ((_, strategy),) = make_plan({"scenario": "toy", "strategy": "ewc"}).strategy.members
    assert vars(strategy)["ewc_lambda"] == sequences.EWC_LAMBDA


def test_small_tasks_are_learned_for_the_epochs_that_the_peers_learn_for() -> None:
    sequence = sequences.TaskSequence("clbench", "naive", "same")
    config = make_plan(sequence.options()).config
    assert config.epochs_of(sequence.train) == config.epochs


def test_masked_answers_count_learning_and_answering_only() -> None:
    answers = peer_data.Answers(torch.tensor([[True, False], [False, True]]))
    masked = answers.mask(torch.zeros(2, 2), torch.tensor([0, 1]), training=True)
    assert masked.tolist() == [[0.0, float("-inf")], [float("-inf"), 0.0]]
    answers.mask(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), training=False)  # for Fisher
    with torch.no_grad():
        answers.mask(torch.zeros(5, 2), torch.zeros(5, dtype=torch.long), training=False)
    assert (answers.trained, answers.evaluated) == (2, 5)


def test_loop_of_the_trainer_gives_the_fisher(
    make_learner: Callable[..., Any], make_examples: Callable[..., Any]
) -> None:
    learner = make_learner()
    examples = make_examples(learner.labels, 7)
    columns = SimpleNamespace(columns=learner.labels.columns, device=learner.device)
    model = TaskClassifier(learner.model, peer_data.answers(columns))  # type: ignore[arg-type]
    batches = [learner.collate([example]) for example in examples]
    inputs = [{key: batch[key] for key in ("input_ids", "attention_mask", "labels")} for batch in batches]
    found = fisher_by_loop(model, inputs, None)
    for name, value in diagonal_fisher(learner, examples, "empirical", generator(0), loop=True).items():
        torch.testing.assert_close(found[f"model.{name}"], value)


def test_penalty_sums_over_tasks() -> None:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.bias.fill_(1.0)
    first = {"weight": torch.tensor([[2.0]]), "bias": torch.tensor([1.0])}, {"weight": torch.tensor([[1.0]]),
             "bias": torch.tensor([0.0])}  # fmt: skip
    second = {"weight": torch.tensor([[1.0]]), "bias": torch.tensor([0.0])}, {"weight": torch.tensor([[0.0]]),
              "bias": torch.tensor([5.0])}  # fmt: skip
    # ½ · 10 · (2 · (3 − 1)² + 1 · (1 − 0)² + 1 · (3 − 0)² + 0)
    found = penalty(model, [first, second], 10.0)
    assert isinstance(found, torch.Tensor)
    assert found.item() == pytest.approx(5 * (8 + 1 + 9))
    assert penalty(model, [], 10.0) == 0


def test_what_is_compared_takes_turns() -> None:
    calls: list[str] = []
    given = {name: (lambda name=name: calls.append(name)) for name in "AB"}
    seconds = timing.interleave(given, 3, torch.device("cpu"), warm_up=1)
    assert calls == list("ABABABAB")
    assert {name: len(values) for name, values in seconds.items()} == {"A": 3, "B": 3}


def test_ratios_are_of_one_turn() -> None:
    found = timing.ratios([1.0, 4.0, 3.0], [2.0, 2.0, 4.0])
    assert found == [0.5, 2.0, 0.75]
    assert timing.spread(found) == timing.Spread(0.75, 0.5, 2.0)
    assert timing.spread(found).text() == "0.75 (0.50–2.00)"
    assert timing.quartiles([4.0, 1.0, 3.0, 2.0, 5.0], 1) == "3.0 (2.0–4.0)"
    with pytest.raises(ValueError, match="shorter"):
        timing.ratios([1.0, 2.0], [1.0])


def test_finished_measurements_are_kept(tmp_path: Path) -> None:
    peer = replace(SEQUENCE, program="trainer")
    path, calls = tmp_path / "work.jsonl", []

    def measure(sequence: sequences.TaskSequence) -> sequences.Outcome:
        calls.append(sequence.program)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return replace(OUTCOME, sequence_seconds=float(len(calls)))

    with pytest.raises(KeyboardInterrupt):
        measurements.measure_all([SEQUENCE, peer], 2, measurements.WorkFile(path, 1), measure)
    path.write_text(path.read_text() + '{"origin": "cut o')
    found = measurements.measure_all([SEQUENCE, peer], 2, measurements.WorkFile(path, 1), measure)
    assert calls == ["clbench", "trainer", "clbench", "trainer", "trainer"]
    assert [outcome.sequence_seconds for outcome in found[SEQUENCE]] == [1.0, 3.0]
    assert [outcome.sequence_seconds for outcome in found[peer]] == [2.0, 5.0]
    assert len(measurements.WorkFile(path, 1).outcomes) == 4
    assert not measurements.WorkFile(path, 2).outcomes  # another number of threads


def test_unequal_work_is_refused() -> None:
    peer = replace(SEQUENCE, program="trainer")
    measurements.check_equal_work({SEQUENCE: [OUTCOME], peer: [OUTCOME]})
    less = replace(OUTCOME, optimizer_steps=1), replace(OUTCOME, texts_trained=1), replace(OUTCOME, texts_evaluated=1)
    for outcome in less:
        with pytest.raises(RuntimeError, match="same work"):
            measurements.check_equal_work({SEQUENCE: [OUTCOME], peer: [outcome]})


def test_comparison_divides_clbench_by_the_peer() -> None:
    peer = replace(SEQUENCE, program="avalanche")
    slow = replace(OUTCOME, sequence_seconds=40.0)
    found = {SEQUENCE: [OUTCOME, OUTCOME], peer: [slow, replace(slow, sequence_seconds=20.0)]}
    (row,) = peer_tables.comparisons(found)
    assert (row["peer"], row["ratio"]["values"]) == ("avalanche", [0.25, 0.5])
    assert row["ratio_with_loading"]["values"] == [12 / 42, 12 / 22]
    text = "\n".join([*peer_tables.tables([row], found), *peer_tables.notes(SEQUENCE, OUTCOME)])
    assert "| same | naive | Avalanche | 10.0 (10.0–10.0) | 30.0 (20.0–40.0) | 0.38 (0.25–0.50) |" in text
    assert "96 texts" in text
    # 96 texts in 7 s, 72 in 2 s, 1 s for the rest
    assert "| same | naive | clbench | 14 | 36 | 7.0 | 0.0 | 2.0 | 1.0 |" in text


def test_outcomes_survive_json() -> None:
    assert sequences.Outcome(**json.loads(json.dumps(asdict(OUTCOME)))) == OUTCOME


def test_ordinary_pass_and_loop_see_every_text_once(
    make_learner: Callable[..., Any], make_examples: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner()
    examples = make_examples(learner.labels, 9)
    sizes: list[int] = []
    forward = learner._forward

    def counted(batch: Any, model: nn.Module) -> torch.Tensor:
        sizes.append(len(batch["labels"]))
        logits: torch.Tensor = forward(batch, model)
        return logits

    monkeypatch.setattr(learner, "_forward", counted)
    fisher.ordinary_pass(learner, examples, 30)
    expected = [len(numbers) for numbers in evaluation_batches([len(e["input_ids"]) for e in examples], 30)]
    assert sizes == expected
    assert len(sizes) > 1
    assert all(parameter.grad is None for parameter in learner.model.parameters())
    sizes.clear()
    fisher.loop(learner, examples, "sampled")
    assert sizes == [1] * 9


def test_difference_is_relative_to_the_largest_element(
    make_learner: Callable[..., Any], make_examples: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner()
    examples = make_examples(learner.labels, 6)
    assert fisher.difference(learner, examples, "sampled", 40) < 1e-4
    right = {"a": torch.tensor([1.0, 4.0]), "b": torch.tensor([10.0])}
    monkeypatch.setattr(fisher, "loop", lambda *_: right)
    monkeypatch.setattr(fisher, "fisher", lambda *_: {"a": torch.tensor([2.0, 4.0]), "b": torch.tensor([11.0])})
    assert fisher.difference(learner, examples, "sampled", 40) == pytest.approx(0.25)


def test_scenario_with_many_tasks_is_a_scenario() -> None:
    plan = make_plan({"scenario": str(step_times.SCENARIO), "strategy": "naive", "scenario_args": {"tasks": 50}})
    tasks = plan.tasks
    check_tasks(tasks, "task")
    assert len(tasks) == 50


def test_sizes_and_steps_at_each_moment(tmp_path: Path) -> None:
    options = {"model": "tiny", "device": "cpu"}
    prepared = step_times.prepare_many("ewc(fisher_samples=2)", 3, options)
    moments, sizes = step_times.learn(prepared, [2, 3], RunFolder(tmp_path))
    trainable = step_times.trainable_bytes(prepared)
    assert [size.tasks for size in sizes] == [2, 3]
    assert [size.stored_bytes for size in sizes] == [2 * trainable] * 2
    assert sizes[0].checkpoint_bytes >= 3 * trainable
    built = []

    def build() -> Any:
        built.append(make_plan({"scenario": "toy", "strategy": "ewc", "model": "tiny"}).strategy)
        return built[-1]

    with sequences.steps_counted() as steps:
        seconds = step_times.step_times(prepared, moments, build, 2, 3)
    assert len(steps) == 2 * (2 + 1) * 3  # moments, turns with one to warm up, steps
    assert {moment: len(values) for moment, values in seconds.items()} == {2: 2, 3: 2}
    first, second = (strategy.state_dict()["ewc"] for strategy in built)
    assert tensor_bytes(first) == tensor_bytes(second) == 2 * trainable
    assert not torch.equal(*(state["importance"]["classifier.weight"] for state in (first, second)))


def test_generated_runs_can_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_runs, "PREDICTION_FILES", 2)
    monkeypatch.setattr(many_runs, "SCENARIOS", ("text_seq",))
    monkeypatch.setattr(many_runs, "STRATEGIES", ("naive", "ewc"))
    monkeypatch.setattr(many_runs, "VARIANTS", 2)
    many_runs.write_runs(tmp_path, 6)
    runs, skipped = find_runs([tmp_path])
    assert (len(runs), skipped) == (6, [])
    (table,) = compare(runs).tables
    assert sorted(len(row.runs) for row in table.rows) == [1, 1, 2, 2]  # a second seed of the first two kinds
    assert len(RunFolder(runs[0].folder).read_predictions()["index"]) == 6 * 5 * 300


@pytest.mark.parametrize("saves", [True, False])
def test_runs_with_and_without_checkpoints_differ_in_nothing_else(
    saves: bool, tmp_path: Path, run_toy: Callable[..., tuple[dict[str, Any], RunFolder]]
) -> None:
    with checkpoints.saving(saves):
        result, folder = run_toy("naive", tmp_path, keep_checkpoints=True)
    assert folder.checkpoint.exists() == saves
    assert result["accuracy_matrix"] == run_toy("naive")[0]["accuracy_matrix"]


def test_the_table_of_the_stand_in_sets_counts_beside_those_of_before() -> None:
    row = {"places": ["toy task"], "ran": "yes", "equal": "yes", "steps": 6, "waits": 0.5, "uploads": 0.0}
    before = {"environment": {"commit": "0123456789abcdef", "dirty": True}, "rows": {"gem": {**row, "waits": 2.25}}}
    lines = device_double.page({"gem": row, "new": row}, before)
    assert lines[2] == "| `gem` | toy task | yes | yes | 6 | 2.25 | 0.50 | 0.00 | 0.00 |"
    assert lines[3] == "| `new` | toy task | yes | yes | 6 | – | 0.50 | – | 0.00 |"
    assert lines[5] == "Before: the same program and the same stand-in at commit 0123456789ab with changes."
    assert device_double.page({"gem": row}, None)[2] == "| `gem` | toy task | yes | yes | 6 | 0.50 | 0.00 |"


def test_ways_of_many_runs_are_compared_in_the_same_turn() -> None:
    seconds = {parallel.ALONE: [10.0, 10.0, 10.0], parallel.Way(2, 1): [5.0, 6.0, 7.0]}
    measured = {way: [parallel.Measured(each, ()) for each in found] for way, found in seconds.items()}
    assert parallel.table(measured).splitlines() == [
        "| runs | wall, s | of 1 at once × 1 thread |",
        "|---|---|---|",
        "| 1 at once × 1 thread | 10.0 (10.0–10.0) | 1.00 (1.00–1.00) |",
        "| 2 at once × 1 thread | 6.0 (5.0–7.0) | 0.60 (0.50–0.70) |",
    ]


def test_ways_with_as_many_threads_must_give_the_same_bits() -> None:
    first, second = parallel.Measured(1.0, ("a", "b")), parallel.Measured(2.0, ("a", "c"))
    assert parallel.same_predictions({parallel.APART: [first], parallel.ALONE: [second]})
    assert not parallel.same_predictions({parallel.APART: [first], parallel.Way(1, 2): [second]})
    assert not parallel.same_predictions({parallel.ALONE: [first, second]})
