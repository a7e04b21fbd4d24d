"""Strategies inside a transformers.Trainer: whether they learn what they learn in clbench's own loop; refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from clbench.clock import Clock
from clbench.data import Example, length, training_batches
from clbench.engine import engine
from clbench.engine.preparation import Prepared, prepare
from clbench.engine.reporter import Reporter
from clbench.integrations.trainer import ContinualLearning
from clbench.plugins.plan import Plan, make_plan
from clbench.rng import generator
from clbench.strategy import Stack
from clbench.toolkit.training import Training
from tests.helpers import Weights, weights

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
    """The batches of clbench's own loop, an epoch after the other."""

    def __init__(self, examples: list[Example], task: str, seed: int = 0) -> None:
        self.lengths, self.task, self.seed, self.epoch = [length(e) for e in examples], task, seed, 0

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / OPTIONS["batch_size"])

    def __iter__(self) -> Any:
        order = generator(self.seed, "data order", self.task, self.epoch)
        self.epoch += 1
        return iter(training_batches(self.lengths, OPTIONS["batch_size"], order))


def make_trainer(prepared: Prepared, position: int, folder: Path, *, ordered: bool = True, **more: Any) -> Any:
    import transformers

    task = prepared.tasks[position]

    class Ordered(transformers.Trainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> Any:
            batches: Any = Batches(task.train, task.name)
            data = DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator)
            return self.accelerator.prepare(data)

    arguments = {
        **{"num_train_epochs": OPTIONS["epochs"], "per_device_train_batch_size": OPTIONS["batch_size"]},
        **{"learning_rate": OPTIONS["lr"], "lr_scheduler_type": OPTIONS["schedule"], "max_grad_norm": 1.0},
        **{"use_cpu": True, "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "logging_strategy": "no"},
    }
    keywords = {key: more.pop(key) for key in ("compute_loss_func", "optimizers", "callbacks") if key in more}
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


def in_trainer(expression: str, folder: Path, setting: str, max_grad_norm: float = 1.0, **more: Any) -> Any:
    """The same in a Trainer."""
    plan = make_plan({**OPTIONS, "setting": setting, "strategy": "naive", "output_dir": str(folder / "engine")})
    prepared = prepare(plan, Clock())
    learning = ContinualLearning(expression, str(folder / "out"), setting=setting, seed=0)
    after, losses = [], []
    for position, task in enumerate(prepared.tasks):
        trainer = make_trainer(prepared, position, folder, max_grad_norm=max_grad_norm, **more)
        learning.attach(trainer, task=task.name, test=Rows(prepared.tests[position]))
        hooks = learning.hooks
        assert hooks is not None
        trainer.train()
        learning.end_task(trainer)
        after.append(weights(prepared.learner))
        losses += hooks.losses
    return learning.result(), after, torch.stack(losses)


@pytest.mark.parametrize("setting", ["task", "domain"])
@pytest.mark.parametrize("expression", ["naive", "ewc(ewc_lambda=100)", "replay", "replay+ewc(ewc_lambda=100)"])
def test_a_trainer_learns_what_the_engine_learns(
    expression: str, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses and weights to 1e-5 with the same batches; gradients are clipped, with the penalties in them."""
    result, after, losses = in_engine(expression, tmp_path, monkeypatch, setting=setting)
    found, found_after, found_losses = in_trainer(expression, tmp_path, setting)
    torch.testing.assert_close(found_losses, losses, atol=1e-5, rtol=0)
    for one, other in zip(found_after, after, strict=True):
        for name, value in other.items():
            torch.testing.assert_close(one[name], value, atol=1e-5, rtol=0)
    assert found["accuracy_matrix"] == result["accuracy_matrix"]
    assert found["metrics"] == result["metrics"]
