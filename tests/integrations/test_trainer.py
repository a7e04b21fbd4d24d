"""Strategies inside a transformers.Trainer: whether they learn what they learn in clbench's own loop; refusals."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from clbench import plugins
from clbench.cli import main
from clbench.clock import Clock
from clbench.data import Example, TaskData, length, training_batches
from clbench.engine import engine
from clbench.engine.preparation import Prepared, prepare
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.integrations.trainer import ContinualLearning
from clbench.integrations.trainer.contents import pool_hash, start_hashes
from clbench.integrations.trainer.hooks import TaskHooks
from clbench.integrations.trainer.refusals import PROVEN, REMEDIES, check_strategies, settings
from clbench.integrations.trainer.rows import examples_of, rows_hash
from clbench.kinds import find_kind
from clbench.learner import Learner
from clbench.plugins.foreign import libraries
from clbench.plugins.plan import Plan, make_plan
from clbench.report.rows import split_rows
from clbench.results import RunFolder, find_runs
from clbench.rng import generator, seeded_torch
from clbench.strategy import ALL_SETTINGS, Stack
from clbench.toolkit.training import Training
from tests.helpers import ROOT, Weights, slow, weights

OPTIONS: dict[str, Any] = {
    "scenario": "toy",
    "scenario_args": {"train": 30, "dev": 9, "test": 15},
    "epochs": 2,
    "batch_size": 8,
    **{"lr": 5e-3, "head_lr": 5e-3, "weight_decay": 0.0, "warmup": 0.0, "schedule": "linear"},
    **{"dropout": 0.0, "device": "cpu", "precision": "fp32", "evaluate": "seen", "first_tasks": 2},
}


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Examples as a person's tokenised data set has them."""

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, number: int) -> dict[str, Any]:
        example = self.examples[number]
        ids = example["input_ids"].tolist()
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "label": example["label"]}


class Batches:
    """The batches of clbench's own loop, an epoch after the other, each in ``parts``."""

    def __init__(self, examples: list[Example], task: str, parts: int = 1, seed: int = 0) -> None:
        self.lengths, self.task, self.seed, self.epoch = [length(e) for e in examples], task, seed, 0
        self.parts = parts

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / int(OPTIONS["batch_size"])) * self.parts

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Any:
        order = generator(self.seed, "data order", self.task, self.epoch)
        size = OPTIONS["batch_size"] // self.parts
        for batch in training_batches(self.lengths, OPTIONS["batch_size"], order):
            yield from (batch[start : start + size] for start in range(0, len(batch), size))


def make_trainer(prepared: Prepared, position: int, folder: Path, *, ordered: bool = True, **more: Any) -> Any:
    import transformers

    task, parts = prepared.tasks[position], more.get("gradient_accumulation_steps", 1)

    class Ordered(transformers.Trainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> Any:
            batches: Any = Batches(task.train, task.name, parts)
            data = DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator)
            return self.accelerator.prepare(data)

    arguments = {
        **{"num_train_epochs": OPTIONS["epochs"], "per_device_train_batch_size": OPTIONS["batch_size"] // parts},
        **{"learning_rate": OPTIONS["lr"], "lr_scheduler_type": OPTIONS["schedule"], "max_grad_norm": 1.0},
        **{"use_cpu": True, "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "logging_strategy": "no"},
    }
    if more.pop("eval_dataset", False):
        more["eval_dataset"] = Rows(task.dev)
    keywords = {key: more.pop(key) for key in ("compute_loss_func", "compute_metrics", "eval_dataset") if key in more}
    return (Ordered if ordered else transformers.Trainer)(
        model=prepared.learner.model,
        args=transformers.TrainingArguments(output_dir=str(folder / "trainer"), **{**arguments, **more}),
        train_dataset=Rows(task.train),
        processing_class=prepared.learner.tokenizer,
        **keywords,
    )


def in_engine(expression: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Any:
    """The result, the weights after each task and the losses of clbench's own loop."""
    losses: list[Tensor] = []
    take = Training.take_loss

    def note(training: Training) -> float:
        losses.extend(training.losses)
        return take(training)

    monkeypatch.setattr(Training, "take_loss", note)
    plan = make_plan({**OPTIONS, **more, "strategy": expression, "output_dir": str(folder / "engine")})
    watcher = Weights()
    watching = Plan(plan.config, plan.tasks, Stack([*plan.strategy.members, ("watcher", watcher)]))
    return engine.run(watching, Reporter()), watcher.after, torch.stack(losses)


def in_trainer(
    expression: str,
    folder: Path,
    setting: str,
    wrap: Callable[[Any], Any] = lambda model: model,
    seed: int = 0,
    **more: Any,
) -> Any:
    """The same in a Trainer."""
    plan = make_plan({**OPTIONS, "setting": setting, "strategy": "naive", "output_dir": str(folder / "engine")})
    prepared = prepare(plan, Clock())
    prepared.learner.model = wrap(prepared.learner.model)
    learning = ContinualLearning(expression, str(folder / "out"), setting=setting, seed=seed)
    after: list[dict[str, Tensor]] = []
    losses: list[Tensor] = []
    for position, task in enumerate(prepared.tasks):
        trainer = make_trainer(prepared, position, folder, **more)
        learning.attach(trainer, task=task.name, test=Rows(prepared.tests[position]))
        hooks = learning.hooks
        assert isinstance(hooks, TaskHooks)
        trainer.train()
        learning.end_task(trainer)
        after.append(weights(prepared.learner))
        losses += hooks.losses
    return learning.result(), after, torch.stack(losses)


STACK = "replay+ewc(ewc_lambda=100)"
QUICK = [("ewc(ewc_lambda=100)", "domain"), ("replay", "task"), (STACK, "domain")]
OTHERS = [(name, setting) for name in PROVEN for setting in ALL_SETTINGS if (name, setting) != ("replay", "task")]


@pytest.mark.parametrize(
    ("expression", "setting", "precision"),
    [
        *((expression, setting, "fp32") for expression, setting in QUICK),
        *(slow(name, setting, "fp32") for name, setting in OTHERS if name != "seq_star" or setting != "domain"),
        *(slow(expression, "task", "bf16") for expression in (STACK, "sam+si", "distillation+er_ace")),
    ],
)
def test_a_trainer_learns_what_the_engine_learns(
    expression: str, setting: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses and weights to 1e-5 with the same batches; gradients are clipped, with the penalties in them."""
    result, after, losses = in_engine(expression, tmp_path, monkeypatch, setting=setting, precision=precision)
    found, found_after, found_losses = in_trainer(expression, tmp_path, setting, bf16=precision == "bf16")
    same(found_losses, losses, found_after, after)
    assert found["accuracy_matrix"] == result["accuracy_matrix"]
    assert found["macro_f1_matrix"] == result["macro_f1_matrix"]
    assert found["metrics"] == result["metrics"]
    for key in ("stored_bytes", "examples_seen"):
        assert found["cost"][key] == result["cost"][key]


ODD = "replay(memory_size=9, replay_batch_size=3)+ewc(ewc_lambda=100)"  # 11 rows a step, in parts of 6 and 5


@pytest.mark.parametrize(
    ("expression", "setting"), [(ODD, "domain"), *(slow(name, "task") for name in (*PROVEN, STACK, "sam+replay"))]
)
def test_accumulated_gradients_are_those_of_one_big_batch(expression: str, setting: str, tmp_path: Path) -> None:
    """Two batches of 4 rows, or of 4 and 2, against 8 and 6: memory, losses, penalties. Adam would magnify noise."""
    plain: dict[str, Any] = {"optim": "sgd", "learning_rate": 0.3, "num_train_epochs": 1}
    result, after, losses = in_trainer(expression, tmp_path / "one", setting, **plain)
    found, found_after, found_losses = in_trainer(
        expression, tmp_path / "parts", setting, **plain, gradient_accumulation_steps=2
    )
    same(found_losses, losses, found_after, after)
    moved = [(value - after[0][name]).abs().max() for name, value in after[1].items()]
    assert max(moved) > 1e-3
    assert found["accuracy_matrix"] == result["accuracy_matrix"]
    assert found["cost"]["examples_seen"] == result["cost"]["examples_seen"]


def same(found: Tensor, losses: Tensor, found_after: list[Any], after: list[Any]) -> None:
    torch.testing.assert_close(found, losses, atol=1e-5, rtol=0)
    for one, other in zip(found_after, after, strict=True):
        for name, value in other.items():
            torch.testing.assert_close(one[name], value, atol=1e-5, rtol=0)


def summed_loss(output: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    loss: Tensor = torch.nn.functional.cross_entropy(output["logits"], labels, reduction="sum") / num_items_in_batch
    return loss


def test_a_loss_of_ones_own_counts_the_replayed_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Trainer counted the rows of a part of the batch before the memory's came to it."""
    _, after, losses = in_engine("replay", tmp_path, monkeypatch, setting="domain")
    _, found_after, found = in_trainer("replay", tmp_path, "domain", compute_loss_func=summed_loss)
    same(found, losses, found_after, after)


@pytest.mark.slow
@pytest.mark.parametrize("own", [{"compute_loss_func": summed_loss}, {"label_smoothing_factor": 0.1}])
def test_a_loss_of_ones_own_is_scaled_where_gradients_accumulate(own: dict[str, Any], tmp_path: Path) -> None:
    plain = {"optim": "sgd", "learning_rate": 0.3, **own}
    _, after, losses = in_trainer("replay+ewc", tmp_path / "one", "domain", **plain)
    _, found_after, found = in_trainer(
        "replay+ewc", tmp_path / "parts", "domain", **plain, gradient_accumulation_steps=2
    )
    same(found, losses, found_after, after)


def with_lora(model: Any) -> Any:
    import peft

    with seeded_torch(torch.device("cpu"), 0, "modules"):
        settings = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"])
        return peft.get_peft_model(model, settings)


def in_our_loop(
    plan: Plan, learner: Learner, tasks: Sequence[TaskData], loop: type[Training] = Training
) -> tuple[list[dict[str, Tensor]], Tensor]:
    """The weights after each task and the losses of clbench's training of a model that is at hand, step by step."""
    plan.strategy.setup(learner)
    after: list[dict[str, Tensor]] = []
    losses: list[Tensor] = []
    for task in tasks:
        learner.tasks_seen = task.position + 1
        plan.strategy.before_task(learner, task)
        plan.strategy.train(learner, task, plan.config)
        training = loop(plan.config, plan.strategy, learner, task, task.train)
        while training.step < training.steps:
            training.run_step()
        plan.strategy.after_steps(learner, task)
        plan.strategy.after_task(learner, task)
        after.append(weights(learner))
        losses += training.losses
    return after, torch.stack(losses)


def test_a_peft_model_learns_what_it_learns_in_our_loop(tmp_path: Path) -> None:
    """The reference is clbench's training of the same wrapped model, step by step."""
    plan = make_plan({**OPTIONS, "setting": "domain", "strategy": STACK, "output_dir": str(tmp_path)})
    prepared = prepare(plan, Clock())
    tokenizer, rates = prepared.learner.tokenizer, {"lr": OPTIONS["lr"], "head_lr": OPTIONS["lr"]}
    model = with_lora(prepared.learner.model)
    learner = Learner(model, prepared.learner.labels, tokenizer=tokenizer, padding_id=tokenizer.pad_token_id, **rates)
    after, losses = in_our_loop(plan, learner, prepared.tasks)
    _, found_after, found = in_trainer(STACK, tmp_path, "domain", with_lora)
    same(found, losses, found_after, after)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    moved = {name for name in after[0] if not torch.equal(after[0][name], after[1][name])}
    assert moved
    assert not moved & frozen


def share_right(answered: Any) -> dict[str, float]:
    return {"right": float((answered.predictions.argmax(-1) == answered.label_ids).mean())}


def test_the_trainer_is_what_it_was_before_and_after(prepared: Prepared, tmp_path: Path) -> None:
    """With the strategy naive it learns to the bit what it learns alone; nothing is left on it."""
    start = weights(prepared.learner)
    ends = []
    for attached in (False, True):
        prepared.learner.model.load_state_dict(start, strict=False)
        own = {"eval_strategy": "epoch", "eval_dataset": True, "compute_metrics": share_right}
        trainer = make_trainer(prepared, 0, tmp_path, ordered=False, **own)
        names, callbacks = set(vars(trainer)), list(trainer.callback_handler.callbacks)
        if attached:
            learning = ContinualLearning("naive", str(tmp_path))
            assert learning.attach(trainer, task="one", test=Rows(prepared.tests[0])) is trainer
        trainer.train()
        if attached:
            learning.end_task(trainer)
            assert trainer.callback_handler.callbacks == callbacks
            assert "clip_grad_norm_" not in vars(trainer.accelerator)
        losses = [(line["eval_loss"], line["eval_right"]) for line in trainer.state.log_history[:-1]]
        ends.append((weights(prepared.learner), losses, set(vars(trainer)) - names))
    assert ends[0][1:] == ends[1][1:]
    assert len(losses) == OPTIONS["epochs"]
    for name, value in ends[0][0].items():
        assert torch.equal(ends[1][0][name], value)
        assert value.ndim < 2 or not torch.equal(start[name], value)


def test_compare_reads_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, _, _ = in_trainer("naive", tmp_path, "domain")
    (run,), skipped = find_runs([tmp_path / "out"])
    assert skipped == []
    assert {**run.result, "folder": str(run.folder)} == result
    assert run.config["trainer"]["learning_rate"] == OPTIONS["lr"]
    columns = RunFolder(run.folder).read_predictions()
    right: dict[tuple[int, str], list[bool]] = {}
    for row, task, label, answer in zip(
        *(columns[key] for key in ("after_task", "task", "label", "prediction")), strict=True
    ):
        right.setdefault((row, task), []).append(label == answer)
    cells = {key: sum(hits) / len(hits) for key, hits in right.items()}
    matrix, names = result["accuracy_matrix"], result["tasks"]
    assert matrix == [[cells.get((row, name)) for name in names] for row in range(3)]
    assert [len(cells), matrix[0], matrix[1][1]] == [3, [None, None], None]
    assert main(["compare", str(tmp_path / "out")]) == 0
    assert f"{result['metrics']['average_accuracy']:.3f}"[1:] in capsys.readouterr().out
    assert main(["export", result["folder"], "-o", str(tmp_path / "model")]) == 2
    assert "was made inside a Trainer, whose script has the model" in capsys.readouterr().err
    assert main(["resume", result["folder"]]) == 2
    assert "was made inside a Trainer; start its script again" in capsys.readouterr().err


def changed(part: str, by: float = 0.5) -> Callable[[Any], Any]:
    """The model as one that was loaded, with other weights in ``part``."""

    def change(model: Any) -> Any:
        model.config._name_or_path = "mine"
        with torch.no_grad():
            next(parameter for name, parameter in model.named_parameters() if part in name)[0] += by
        return model

    return change


@pytest.mark.slow
def test_other_starting_weights_are_another_run(tmp_path: Path) -> None:
    """Of one seed another folder; a seed's own head shares a row, other weights that were loaded have their own."""
    for seed, part, by in ((0, "classifier", 0.5), (1, "classifier", 0.25), (1, "embeddings", 0.5)):
        in_trainer("naive", tmp_path, "domain", changed(part, by), seed, max_steps=1)
    runs, _ = find_runs([tmp_path / "out"])
    assert len(runs) == 3
    assert sorted(tuple(run.result["seed"] for run in row.runs) for row in split_rows(runs)) == [(0, 1), (1,)]


def test_hashes_are_of_what_was_loaded_and_of_all_rows(prepared: Prepared) -> None:
    """PEFT's modules and the head are new; neither order nor split of the rows counts, but each row does."""
    model: Any = prepared.learner.model
    model.config._name_or_path = "mine"
    first = start_hashes(model)
    changed("classifier")(model)
    head = start_hashes(model)
    changed("embeddings")(model)
    body = start_hashes(model)
    assert [first["model_sha256"] == each["model_sha256"] for each in (head, body)] == [True, False]
    assert len({each["start_sha256"] for each in (first, head, body)}) == 3
    assert start_hashes(with_lora(model))["model_sha256"] == body["model_sha256"]
    rows = prepared.tasks[0].train
    assert pool_hash(rows[::-1]) == pool_hash(rows)
    assert pool_hash([{**rows[0], "label": 1 - rows[0]["label"]}, *rows[1:]]) != pool_hash(rows)
    assert rows_hash(rows[::-1]) != rows_hash(rows)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    plan = make_plan({**OPTIONS, "setting": "domain", "strategy": "naive", "output_dir": str(tmp_path)})
    return prepare(plan, Clock())


def line(call: Any) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("joint", "'joint' cannot work inside a Trainer, for it learns from other tasks' data"),
        ("lora_per_task", "'lora_per_task' cannot work inside a Trainer, for it trains in a loop of its own"),
        ("schedule", "'schedule' cannot work inside a Trainer, for it sets the schedule, which is the Trainer's"),
        ("replay+wise", "'wise' is not proven to work inside a Trainer; allowed: agem, "),
        slow("avalanche.EWC(ewc_lambda=1)", "'avalanche.EWC' cannot work inside a Trainer, for it trains in a loop"),
        ("ewcc", "unknown strategy 'ewcc'; did you mean 'ewc'?"),
        ("seq_star", "does not support setting 'domain'"),
    ],
)
def test_strategies_are_refused_in_one_line(strategy: str, message: str) -> None:
    if "." in strategy:
        pytest.importorskip("avalanche")
    assert message in line(lambda: ContinualLearning(strategy))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_liger_kernel": True}, "use_liger_kernel = True does not work"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size = True does not work"),
        ({"torch_compile": True}, "torch_compile = True does not work"),
    ],
)
def test_training_arguments_are_refused(
    settings: dict[str, Any], message: str, prepared: Prepared, tmp_path: Path
) -> None:
    trainer = make_trainer(prepared, 0, tmp_path, **settings)
    assert message in line(lambda: ContinualLearning("naive").attach(trainer, task="one", test=trainer.train_dataset))


def test_several_gpus_or_processes_and_fp16_are_refused(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(prepared, 0, tmp_path)
    with monkeypatch.context() as launched:
        launched.setattr(type(trainer.args), "world_size", 2)
        said = line(lambda: ContinualLearning("naive").attach(trainer, task="one", test=trainer.train_dataset))
        assert "world_size = 2 does not work with ContinualLearning; allowed: 1: processes that torchrun" in said
    for name, value in (("fp16", True), ("_n_gpu", 2)):
        kept = getattr(trainer.args, name)
        object.__setattr__(trainer.args, name, value)
        said = line(lambda: ContinualLearning("naive").attach(trainer, task="one", test=trainer.train_dataset))
        assert f"{name.strip('_')} = {value} does not work" in said
        object.__setattr__(trainer.args, name, kept)


def test_losses_that_a_strategy_does_not_mean_are_refused(prepared: Prepared, tmp_path: Path) -> None:
    trainer = make_trainer(prepared, 0, tmp_path, label_smoothing_factor=0.1)
    for strategy, setting, said in (
        ("er_ace", "domain", "'er_ace' means the model's cross-entropy, not label_smoothing_factor"),
        ("ewc", "task", "label_smoothing_factor scores all labels, which setting 'task' does not"),
    ):
        learning = ContinualLearning(strategy, setting=setting)
        assert said in line(lambda given=learning: given.attach(trainer, task="one", test=trainer.train_dataset))


def test_labels_and_rows_are_checked(prepared: Prepared, tmp_path: Path) -> None:
    trainer = make_trainer(prepared, 0, tmp_path)
    rows = trainer.train_dataset
    learning = ContinualLearning("naive", setting="task")
    for labels, test, said in (
        (["LABEL_0", "LABEL_9"], rows, "unknown label of task 'one': 'LABEL_9'; did you mean 'LABEL_"),
        (["LABEL_0"], rows, "task 'one' has the label 1; allowed: [0]"),
        (None, [], "test of task 'one' has no rows that can be counted"),
        (None, [{"input_ids": [2, 3], "labels": 0.5}], "the Trainer's labels are torch.float32"),
        (None, [{"input_ids": [2, 3]}], "a batch of the Trainer lacks 'labels'; it has: "),
    ):
        assert said in line(lambda a=labels, b=test: learning.attach(trainer, task="one", test=b, labels=a))
    rows = [{"input_ids": [2, 3], "labels": 0, "position_ids": [0, 1]}]
    assert "has 'position_ids'" in line(lambda: learning.attach(trainer, task="one", test=rows))


def test_the_order_of_calls_is_checked(prepared: Prepared, tmp_path: Path) -> None:
    trainer, other = (make_trainer(prepared, 0, tmp_path, num_train_epochs=1) for _ in range(2))
    rows = Rows(prepared.tests[0])
    learning = ContinualLearning("naive", str(tmp_path))
    assert "attach() was given str" in line(lambda: learning.attach("trainer", task="one", test=rows))
    assert "result(): end task any first" in line(learning.result)
    learning.attach(trainer, task="one", test=rows)
    assert "end task 'one' first" in line(lambda: learning.attach(other, task="two", test=rows))
    assert "end task 'one' first" in line(learning.result)
    assert "a Trainer that is not attached" in line(lambda: learning.end_task(other))
    assert "task 'one' has not been trained" in line(lambda: learning.end_task(trainer))
    trainer.train()
    assert "train() was called twice in task 'one'" in line(trainer.train)
    learning.end_task(trainer)
    assert "a name that no other task has" in line(lambda: learning.attach(other, task="one", test=rows))
    other.model = copy.deepcopy(other.model)
    assert "the Trainer has another model" in line(lambda: learning.attach(other, task="two", test=rows))


def test_padding_is_taken_off_on_either_side() -> None:
    inputs = {
        "input_ids": torch.tensor([[5, 6, 0], [0, 7, 8]]),
        "attention_mask": torch.tensor([[1, 1, 0], [0, 1, 1]]),
        "labels": torch.tensor([1, 0]),
    }
    first, second = examples_of(inputs, 3, find_kind("text"))
    assert (first["input_ids"].tolist(), second["input_ids"].tolist()) == ([5, 6], [7, 8])
    assert [(e["label"], e["task_id"]) for e in (first, second)] == [(1, 3), (0, 3)]


def test_the_page_says_which_strategies_work() -> None:
    page = (ROOT / "docs" / "trainer.md").read_text(encoding="utf-8")
    _, table = page.split("## Which strategies work")
    named = {cells[1]: set(re.findall(r"`(\w+)`", cells[2])) for cells in map(split, table.splitlines()) if cells}
    assert named.pop("as in `clbench run`, to the bit") == set(PROVEN)
    refused = [name for name in plugins.available("strategy") if name not in PROVEN]
    assert sorted(name for names in named.values() for name in names) == sorted(refused)
    for name in refused:
        assert f"{name!r} " in line(lambda n=name: check_strategies([(n, plugins.build("strategy", n, {}))], "task"))


def test_the_page_names_every_setting_that_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "trainer.md").read_text(encoding="utf-8")
    names = [*settings(make_trainer(prepared, 0, tmp_path)), *REMEDIES]
    assert [name for name in names if f"`{name}`" not in page] == []


def split(row: str) -> list[str]:
    return [cell.strip() for cell in row.split("|")] if row.startswith("|") and "`" in row else []


def test_it_is_no_library_of_strategies() -> None:
    assert "trainer" not in libraries()
    assert "avalanche" in libraries()
