"""Runs on toy: the same again bit for bit, resumed as if never stopped, read when finished, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clbench.cli import main
from clbench.commands.progress import TerminalReporter
from clbench.config import identity
from clbench.data import Batch, TaskData
from clbench.engine import engine
from clbench.engine.checkpoint import load_checkpoint
from clbench.engine.reporter import Reporter
from clbench.errors import InputError, RunError
from clbench.kinds import find_kind
from clbench.learner import Learner
from clbench.models import processor
from clbench.plugins.plan import Plan, make_plan
from clbench.results.folder import RunFolder
from clbench.strategy import Stack, Strategy
from clbench.toolkit.evaluator import Evaluation
from clbench.toolkit.recipe import learning_rate_factor
from clbench.toolkit.training import Training
from tests.helpers import RunToy

STRATEGIES = (
    "naive",
    "ewc(fisher_samples=8)",
    "replay(memory_size=0.3, replay_batch_size=4)",
    "distillation",
    "lora_per_task(learning_rate=0.01)",
    "independent",
    "joint",
    "frozen",
    "replay(memory_size=9, sampling='class_balanced')+distillation+ewc(fisher_samples=8, decay=0.9)",
)
TASKS = ["kitchen", "station", "market"]


def science(result: dict[str, Any]) -> dict[str, Any]:
    """All of a result that must not depend on when and where it was made."""
    cost = {key: result["cost"][key] for key in ("stored_bytes", "trainable_parameters", "examples_seen")}
    return {**result, "cost": cost}


def log_of(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder.path / "log.jsonl").read_text(encoding="utf-8").splitlines()]


class Killed(BaseException):
    """Stands for a process that ends here."""


class Probe(Strategy):
    """Changes nothing; notes which tasks are trained and ends the run at a place such as "before_step station 2"."""

    def __init__(self, place: str = "") -> None:
        self.place = place
        self.trained: list[str] = []

    def _reach(self, place: str) -> None:
        if place == self.place:
            raise Killed(place)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        self.task, self.step = task.name, 0
        self.trained.append(task.name)
        self._reach(f"before_task {task.name}")

    def before_step(self, learner: Learner) -> None:
        self.step += 1
        self._reach(f"before_step {self.task} {self.step}")

    def after_task(self, learner: Learner, task: TaskData) -> None:
        self._reach(f"after_task {task.name}")


def plan_for(strategy: str, output: Path, *probes: Strategy, **options: Any) -> Plan:
    chosen = {"scenario": "toy", "device": "cpu", "strategy": strategy, "output_dir": str(output), **options}
    plan = make_plan(chosen)
    extra = [(f"probe {number}", probe) for number, probe in enumerate(probes)]
    return Plan(plan.config, plan.tasks, Stack([*plan.strategy.members, *extra]))


@pytest.mark.parametrize("strategy", ["naive", STRATEGIES[-1], "lora_per_task(learning_rate=0.01)"])
def test_the_same_again_bit_for_bit(run_toy: RunToy, tmp_path: Path, strategy: str) -> None:
    result, folder = run_toy(strategy)
    torch.manual_seed(123)
    torch.rand(7)
    again, other = run_toy(strategy, tmp_path)
    assert science(again) == science(result)
    assert other.read_predictions() == folder.read_predictions()
    assert other.path.name == folder.path.name


def test_another_seed_gives_other_tasks_and_numbers(run_toy: RunToy) -> None:
    one, other = run_toy("naive"), run_toy("naive", seed=1)
    hashes = [json.loads((run[1].path / "environment.json").read_text())["data_sha256"] for run in (one, other)]
    assert all(hashes[0][task] != hashes[1][task] for task in TASKS)
    assert one[1].read_predictions()["confidence"] != other[1].read_predictions()["confidence"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_matrix_follows_from_the_predictions(run_toy: RunToy, strategy: str) -> None:
    result, folder = run_toy(strategy)
    right: dict[tuple[int, str], list[bool]] = {}
    columns = folder.read_predictions()
    for row, task, label, prediction in zip(
        columns["after_task"], columns["task"], columns["label"], columns["prediction"], strict=True
    ):
        right.setdefault((row, task), []).append(label == prediction)
        assert label.startswith(task)
    matrix = [
        [sum(right[row, task]) / len(right[row, task]) if (row, task) in right else None for task in TASKS]
        for row in range(4)
    ]
    assert result["accuracy_matrix"] == matrix
    assert result["tasks"] == TASKS
    assert {len(values) for values in right.values()} == {15}
    assert all(0 < value <= 1 for value in columns["confidence"])
    if strategy == "joint":
        assert matrix[1] == matrix[2] == [None] * 3
        assert None not in matrix[0] + matrix[3]
    else:
        assert not any(None in row for row in matrix)


def test_every_strategy_sees_the_same_data_and_starts_from_the_same_model(run_toy: RunToy) -> None:
    runs = [run_toy(strategy) for strategy in STRATEGIES]
    hashes = [json.loads((folder.path / "environment.json").read_text())["data_sha256"] for _, folder in runs]
    assert set(hashes[0]) == set(TASKS)
    assert all(found == hashes[0] for found in hashes)
    texts = []
    for _, folder in runs:
        columns = folder.read_predictions()
        first = [row == 0 for row in columns["after_task"]]
        texts.append(
            [[v for v, wanted in zip(columns[c], first, strict=True) if wanted] for c in ("label", "confidence")]
        )
    # Also LoRA: its modules begin as 0.
    for labels, confidences in texts:
        assert labels == texts[0][0]
        assert confidences == pytest.approx(texts[0][1], abs=1e-6)


PLACES = dict.fromkeys(STRATEGIES, "after_task station") | {
    "naive": "before_step station 3",
    "independent": "before_task market",
    "joint": "before_step market 5",
    "frozen": "before_step kitchen 2",
    "distillation": "before_step market 1",
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_stopped_run_ends_as_if_it_had_not_been(
    run_toy: RunToy, toy: dict[str, Any], tmp_path: Path, strategy: str
) -> None:
    expected, expected_folder = run_toy(strategy)
    first, second = Probe(PLACES[strategy]), Probe()
    with pytest.raises(Killed):
        engine.run(plan_for(strategy, tmp_path, first, **toy), Reporter())
    folder = engine.run_folder(plan_for(strategy, tmp_path, **toy).config)
    assert not (folder.path / "result.json").exists()
    torch.manual_seed(99)  # another process has another state
    result = engine.run(plan_for(strategy, tmp_path, second, **toy), Reporter())
    assert science(result) == science(expected)
    assert folder.read_predictions() == expected_folder.read_predictions()
    # The task in which it stopped is trained again, those before it are not.
    learned = ["market"] if strategy == "joint" else TASKS
    stopped = PLACES[strategy].split()[1]
    assert first.trained == learned[: learned.index(stopped) + 1]
    assert second.trained == learned[learned.index(stopped) :]
    assert [line["after_task"] for line in log_of(folder) if line["event"] == "row"] == [0, 1, 2, 3]
    assert not folder.checkpoint.exists()


def test_a_finished_run_is_read_not_run(run_toy: RunToy, monkeypatch: pytest.MonkeyPatch) -> None:
    result, folder = run_toy("naive")
    before = {path: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}

    def never(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Training, "run_step", never)
    monkeypatch.setattr("clbench.engine.prepare", never)
    again, _ = run_toy("naive", folder.path.parents[2])
    assert again == result
    assert {path: path.read_bytes() for path in folder.path.iterdir() if path.is_file()} == before


def test_overwrite_runs_again_from_the_start(toy: dict[str, Any], tmp_path: Path) -> None:
    probes = [Probe(), Probe(), Probe("before_task market"), Probe()]
    results = [engine.run(plan_for("naive", tmp_path, probes[0], **toy), Reporter())]
    results.append(engine.run(plan_for("naive", tmp_path, probes[1], overwrite=True, **toy), Reporter()))
    assert [probe.trained for probe in probes[:2]] == [TASKS, TASKS]
    assert science(results[0]) == science(results[1])
    folder = engine.run_folder(plan_for("naive", tmp_path, **toy).config)
    # One line a finished task, of this run.
    assert [line["after_task"] for line in log_of(folder) if line["event"] == "row"] == [0, 1, 2, 3]
    # Interrupted under --overwrite, the same command goes on; a run that was begun without it starts again.
    with pytest.raises(Killed):
        engine.run(plan_for("naive", tmp_path, probes[2], overwrite=True, **toy), Reporter())
    assert not (folder.path / "result.json").exists()
    assert science(engine.run(plan_for("naive", tmp_path, probes[3], overwrite=True, **toy), Reporter())) == science(
        results[0]
    )
    assert probes[3].trained == TASKS[2:]


def test_overwrite_starts_a_run_again_that_was_begun_without_it(toy: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Killed):
        engine.run(plan_for("naive", tmp_path, Probe("before_task market"), **toy), Reporter())
    probe = Probe()
    engine.run(plan_for("naive", tmp_path, probe, overwrite=True, **toy), Reporter())
    assert probe.trained == TASKS


class Wrong(Strategy):
    """Gives a loss that is not a number at one step of a task."""

    def __init__(self, task: int, step: int, value: float) -> None:
        self.place, self.value, self.step = (task, step), value, 0

    def before_task(self, learner: Learner, task: TaskData) -> None:
        self.position, self.step = task.position, 0

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        self.step += 1
        return logits.sum() * self.value if (self.position, self.step) == self.place else None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_the_step_and_keeps_finished_tasks(
    toy: dict[str, Any], tmp_path: Path, value: float
) -> None:
    with pytest.raises(RunError) as caught:
        # 30 examples in batches of 8: four steps an epoch, so step 6 is the second batch of the second epoch.
        engine.run(plan_for("naive", tmp_path, Wrong(1, 6, value), **{**toy, "epochs": 2}), Reporter())
    line = str(caught.value)
    assert caught.value.exit_code == 1
    assert line.startswith("the loss is ")
    assert "in task 'station' at step 6 (epoch 2, batch 2 of 4); finished tasks are kept; try a smaller --lr" in line
    assert "\n" not in line
    probe, plan = Probe(), plan_for("naive", tmp_path, **{**toy, "epochs": 2})
    engine.run(plan_for("naive", tmp_path, probe, **{**toy, "epochs": 2}), Reporter())
    assert probe.trained == ["station", "market"]
    assert engine.run_folder(plan.config).read_result() is not None


@pytest.mark.parametrize("task", ["station", "market"])
def test_weights_that_are_no_numbers_are_not_evaluated(toy: dict[str, Any], tmp_path: Path, task: str) -> None:
    """The last step may spoil the weights after its loss was still a number."""

    class Spoiler(Strategy):
        def after_task(self, learner: Learner, data: TaskData) -> None:
            if data.name == task:
                with torch.no_grad():
                    next(learner.model.parameters()).fill_(float("nan"))

    with pytest.raises(RunError) as caught:
        engine.run(plan_for("naive", tmp_path, Spoiler(), **toy), Reporter())
    assert task in str(caught.value)
    assert "\n" not in str(caught.value)


def scripted(accuracies: list[list[float]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained, and evaluations give these accuracies (tenths), row after row."""
    rows = iter(accuracies)

    def evaluate_all(*_: Any) -> list[Evaluation]:
        rights = [round(10 * cell) for cell in next(rows)]
        return [
            Evaluation([0] * 10, [0] * right + [1] * (10 - right), [0.5] * 10, find_kind("text"), "accuracy")
            for right in rights
        ]

    def skip(self: Training) -> None:
        self.step += 1
        self.losses.append(torch.zeros(()))

    monkeypatch.setattr(engine, "evaluate_all", evaluate_all)
    monkeypatch.setattr(Training, "run_step", skip)


def test_forgetting_is_warned_of_in_the_log(
    toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Below 0.7 of the accuracy right after learning: 0.6 < 0.7 warns, 0.7 does not; 0.5 < 0.56 warns.
    scripted([[0.3, 0.3, 0.3], [1.0, 0.3, 0.3], [0.7, 0.8, 0.1], [0.6, 0.5, 0.9]], monkeypatch)
    result = engine.run(plan_for("naive", tmp_path, **toy), TerminalReporter(-1))
    folder = engine.run_folder(plan_for("naive", tmp_path, **toy).config)
    texts = [
        "kitchen is being forgotten: accuracy 0.600 after market, 1.000 right after learning",
        "station is being forgotten: accuracy 0.500 after market, 0.800 right after learning",
    ]
    assert result["forgetting_warnings"] == texts
    warnings = [line for line in log_of(folder) if line["event"] == "forgetting"]
    assert warnings == [
        {"event": "forgetting", "after_task": 3, "task": "kitchen", "text": texts[0]},
        {"event": "forgetting", "after_task": 3, "task": "station", "text": texts[1]},
    ]
    assert capsys.readouterr().err == "".join(f"warning: {text}\n" for text in texts)


def test_a_task_that_was_not_learned_is_warned_of(
    toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six of ten labels are alike: who always answers so has .6; only a task just trained on is judged."""
    rows = iter([[6, 6, 6], [7, 2, 2], [9, 6, 2], [9, 9, 5]])

    def evaluate_all(*_: Any) -> list[Evaluation]:
        labels, text = [0] * 6 + [1] * 4, find_kind("text")
        answers = [labels[:right] + [2] * (10 - right) for right in next(rows)]
        return [Evaluation(labels, answer, [0.5] * 10, text, "accuracy") for answer in answers]

    scripted([], monkeypatch)
    monkeypatch.setattr(engine, "evaluate_all", evaluate_all)
    result = engine.run(plan_for("naive", tmp_path, **toy), TerminalReporter(-1))
    texts = [
        f"{task} was not learned: accuracy {score}, 0.600 with always the same answer; try more --epochs or another "
        "--lr or --head-lr"
        for task, score in (("station", "0.600"), ("market", "0.500"))
    ]
    assert result["learning_warnings"] == texts
    told = [line for line in capsys.readouterr().err.splitlines() if "not learned" in line]
    assert told == [f"warning: {text}" for text in texts]


def test_the_metrics_by_hand(toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted([[0.3, 0.2, 0.4], [0.8, 0.3, 0.5], [0.9, 0.7, 0.5], [0.6, 0.5, 0.9]], monkeypatch)
    metrics = engine.run(plan_for("naive", tmp_path, **toy), Reporter())["metrics"]
    expected = {
        "average_accuracy": (0.6 + 0.5 + 0.9) / 3,
        "learning_accuracy": (0.8 + 0.7 + 0.9) / 3,
        "average_incremental_accuracy": (0.8 + (0.9 + 0.7) / 2 + (0.6 + 0.5 + 0.9) / 3) / 3,
        "forgetting": ((0.9 - 0.6) + (0.7 - 0.5)) / 2,
        "backward_transfer": ((0.6 - 0.8) + (0.5 - 0.7)) / 2,
        "forward_transfer": ((0.3 - 0.2) + (0.5 - 0.4)) / 2,
        "worst_retention": 0.5 / 0.7,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_class_setting_leaves_tasks_to_come_unmeasured(run_toy: RunToy) -> None:
    result, folder = run_toy("naive", setting="class")
    assert [[cell is None for cell in row] for row in result["accuracy_matrix"]] == [
        [True, True, True], [False, True, True], [False, False, True], [False, False, False],
    ]  # fmt: skip
    assert result["metrics"]["forward_transfer"] is None
    assert result["metrics"]["forgetting"] is not None
    columns = folder.read_predictions()
    seen = {row: {f"{task} " for task in TASKS[:row]} for row in range(1, 4)}
    for row, prediction in zip(columns["after_task"], columns["prediction"], strict=True):
        assert any(prediction.startswith(task) for task in seen[row])


def test_domain_setting_shares_the_labels(run_toy: RunToy) -> None:
    result, folder = run_toy("naive", setting="domain")
    assert set(folder.read_predictions()["prediction"]) <= {"red", "green", "blue"}
    assert not any(None in row for row in result["accuracy_matrix"])


def test_limit_caps_and_marks(run_toy: RunToy) -> None:
    result, folder = run_toy("naive", limit=6)
    assert (result["limited"], run_toy("naive")[0]["limited"]) == (True, False)
    # Six train examples of each of three tasks, one epoch.
    assert result["cost"]["examples_seen"] == 18
    columns = folder.read_predictions()
    assert len(columns["label"]) == 4 * 3 * 6
    for task in TASKS:
        rows = zip(columns["task"], columns["label"], columns["after_task"], strict=True)
        labels = [label for name, label, row in rows if (name, row) == (task, 0)]
        assert {label: labels.count(label) for label in labels} == {f"{task} {c}": 2 for c in ("red", "green", "blue")}


def test_dev_is_evaluated_only_when_asked(run_toy: RunToy) -> None:
    _, folder = run_toy("naive", eval_split="dev")
    assert len(folder.read_predictions()["label"]) == 4 * 3 * 9


def test_the_cost_counts(run_toy: RunToy) -> None:
    result, _ = run_toy("naive")
    cost = result["cost"]
    assert (cost["examples_seen"], cost["stored_bytes"]) == (3 * 30, 0)
    assert cost["trainable_parameters"] > 60_000
    assert cost["wall_seconds"] > cost["train_seconds"] > 0
    assert cost["eval_seconds"] > 0
    assert cost["fisher_seconds"] == 0
    assert cost["peak_memory_bytes"] > 1e8
    with_ewc = run_toy("ewc(fisher_samples=8)")[0]["cost"]
    assert with_ewc["stored_bytes"] == 2 * 4 * with_ewc["trainable_parameters"]
    assert with_ewc["fisher_seconds"] > 0


def test_the_folder_holds_what_the_design_says(run_toy: RunToy) -> None:
    result, folder = run_toy("naive")
    assert result == json.loads((folder.path / "result.json").read_text())
    config = json.loads((folder.path / "config.json").read_text())
    assert folder.path.parts[-3:] == ("toy", "naive", f"tiny-s0-{config['hash8']}")
    assert (config["lr"], config["scenario_args"], config["epochs"]) == (5e-3, {"train": 30, "dev": 9, "test": 15}, 1)
    environment = json.loads((folder.path / "environment.json").read_text())
    assert set(environment) >= {"command", "commit", "dirty", "versions", "hardware", "model_sha256", "data_sha256"}
    assert environment["versions"]["torch"] == torch.__version__
    assert not folder.checkpoint.exists()


def weights_of(folder: RunFolder) -> dict[str, Tensor]:
    content = load_checkpoint(folder.checkpoint, identity(json.loads((folder.path / "config.json").read_text())))
    assert content is not None
    found: dict[str, Tensor] = content["model"]
    return found


def test_accumulating_gradients_changes_nothing(run_toy: RunToy, tmp_path: Path) -> None:
    options = {"dropout": 0.0, "keep_checkpoints": True, "lr": 1e-3, "head_lr": 1e-2}
    plain = weights_of(run_toy("naive", tmp_path, **options)[1])
    parts = weights_of(run_toy("naive", tmp_path, accumulation=2, **options)[1])
    other = weights_of(run_toy("naive", tmp_path, batch_size=4, **options)[1])
    # 30 examples in batches of 8: the last batch has 6, in parts of 4 and 2. AdamW divides by the gradient's size, so
    # rounding shows where a gradient is nearly 0 (a bias of the keys, a word of one text).
    compared = [name for name in plain if "key.bias" not in name and plain[name].is_floating_point()]
    differences = {name: float((plain[name] - parts[name]).abs().mean()) for name in compared}
    moved = {name: float((plain[name] - other[name]).abs().mean()) for name in compared}
    assert max(differences.values()) < 1e-5
    assert sum(differences.values()) < 0.01 * sum(moved.values())


def test_the_learning_rate_rises_and_falls() -> None:
    # Ten steps, the first two of them warm-up: ½, 1, then 8/8 down to 1/8.
    factors = [learning_rate_factor(step, 10, 0.2) for step in range(10)]
    assert factors == pytest.approx([0.5, 1.0, *(rest / 8 for rest in range(8, 0, -1))])
    assert [learning_rate_factor(step, 4, 0.0) for step in range(4)] == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert [learning_rate_factor(step, 4, 1.0) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_a_run_that_goes_on_with_another_number_of_threads_says_so(toy: dict[str, Any], tmp_path: Path) -> None:
    class Heard(Reporter):
        warnings: list[str] = []

        def warn(self, line: str) -> None:
            self.warnings.append(line)

    with pytest.raises(Killed):
        engine.run(plan_for("naive", tmp_path, Probe("before_task market"), **toy), Reporter())
    plan, heard = plan_for("naive", tmp_path, **toy), Heard()
    torch.set_num_threads(2)
    try:
        engine.run(plan, heard)
    finally:
        torch.set_num_threads(1)
    assert [line for line in heard.warnings if "threads" in line] == [
        "begun on 1 threads, goes on with 2: results may differ in the last digits from those of an uninterrupted run"
    ]
    environment = json.loads((engine.run_folder(plan.config).path / "environment.json").read_text())
    assert environment["parts"] == [
        {"rows_done": 0, "steps_done": 0, "device": "cpu", "processor": processor(), "threads": 1},
        {"rows_done": 3, "steps_done": 0, "device": "cpu", "processor": processor(), "threads": 2},
    ]
    result = engine.run_folder(plan.config).read_result()
    assert result is not None
    assert [entry["threads"] for entry in result["hardware"]] == [1, 2]


def test_a_run_that_goes_on_with_other_kernels_says_so(
    toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which these are is read when torch is loaded: what other numbers they give, the slow walk of names shows."""

    class Heard(Reporter):
        warnings: list[str] = []

        def warn(self, line: str) -> None:
            self.warnings.append(line)

    for name in ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "NVIDIA_TF32_OVERRIDE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Killed):
        engine.run(plan_for("naive", tmp_path, Probe("before_task market"), **toy), Reporter())
    plan, heard = plan_for("naive", tmp_path, **toy), Heard()
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")  # of GPUs
    engine.run(plan, heard)
    chosen = "ATEN_CPU_CAPABILITY=avx2, MKL_CBWR=COMPATIBLE"
    assert [line for line in heard.warnings if "kernels" in line] == [
        f"begun on the kernels that libraries choose by themselves, goes on with {chosen}: results may differ in the "
        "last digits from those of an uninterrupted run"
    ]
    result = engine.run_folder(plan.config).read_result()
    assert result is not None
    assert [entry.get("kernels") for entry in result["hardware"]] == [None, chosen]
    environment = json.loads((engine.run_folder(plan.config).path / "environment.json").read_text())
    assert environment["hardware"]["kernels"] == chosen


def test_a_damaged_checkpoint_is_refused_by_name(toy: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Killed):
        engine.run(plan_for("naive", tmp_path, Probe("before_task station"), **toy), Reporter())
    folder = engine.run_folder(plan_for("naive", tmp_path, **toy).config)
    path = folder.checkpoint / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"state\.safetensors was changed or cut since it was written"):
        engine.run(plan_for("naive", tmp_path, **toy), Reporter())


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path: Path, toy: dict[str, Any]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another with --output-dir"):
        engine.run(plan_for("naive", tmp_path / "file", **toy), Reporter())


def test_seen_tasks_only_leaves_the_others_unmeasured(run_toy: RunToy) -> None:
    whole, _ = run_toy("naive")
    result, folder = run_toy("naive", evaluate="seen")
    expected = [
        [None if position >= row else cell for position, cell in enumerate(cells)]
        for row, cells in enumerate(whole["accuracy_matrix"])
    ]
    assert result["accuracy_matrix"] == expected
    assert result["metrics"]["forward_transfer"] is None
    assert result["metrics"]["forgetting"] == whole["metrics"]["forgetting"]
    columns = folder.read_predictions()
    assert {(r, TASKS.index(t)) for r, t in zip(columns["after_task"], columns["task"], strict=True)} == {
        (1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2),
    }  # fmt: skip


def test_the_profile_is_stored_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--scenario", "toy", "--strategy", "ewc", "--epochs", "1", "--output-dir", str(tmp_path), "-q"]
    assert main([*command, "--profile"]) == 0
    printed = capsys.readouterr().out
    (folder,) = (tmp_path / "toy" / "ewc").iterdir()
    cost = json.loads((folder / "result.json").read_text())["cost"]
    profile = cost["profile"]
    assert {"train/forward", "train/backward", "train/optimizer", "train/strategy", "fisher", "eval/forward"} < {
        *profile
    }
    # The parts of the wall time do not overlap.
    assert sum(value for purpose, value in profile.items() if purpose != "wall") <= profile["wall"]
    assert cost["train_seconds"] == pytest.approx(sum(profile[k] for k in profile if k.split("/")[0] == "train"))
    assert f"wall{profile['wall']:.2f}s" in printed.replace(" ", "")
    # A run that was finished without one has none to show.
    assert main([*command, "--seed", "1"]) == 0
    assert main([*command, "--seed", "1", "--profile"]) == 0
    assert "finished without --profile" in capsys.readouterr().err


@pytest.mark.slow
def test_compiled_training_gives_the_same_to_rounding(run_toy: RunToy) -> None:
    """A minute of compiling."""
    eager, _ = run_toy("naive", dropout=0.0)
    compiled, _ = run_toy("naive", dropout=0.0, compile=True)
    difference = torch.tensor(eager["accuracy_matrix"]) - torch.tensor(compiled["accuracy_matrix"])
    assert float(difference.abs().max()) < 0.07  # one of 15 texts
