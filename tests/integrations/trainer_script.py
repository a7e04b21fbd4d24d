"""A person's script with a Trainer, for one process or several; each writes what it has at the end.

    python -m tests.integrations.trainer_script FOLDER BATCH KILL EXPRESSION ...

BATCH is that of one process; in the second task all are killed after step KILL, unless it is 0. With -1 each process
has other test rows.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from clbench.integrations.trainer import ContinualLearning
from clbench.integrations.trainer.hooks import TaskHooks
from clbench.models import ranks, survive_torchvision

survive_torchvision()  # which transformers imports
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import (  # noqa: E402
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

TASKS = ("film", "food")
LORA = "lora:"  # before an expression: in modules of PEFT's
SFT = "sft:"  # before an expression: SFTTrainer, with LoRA on a tiny Llama


class Rows(Dataset[dict[str, Any]]):
    """22 rows of 3 to 5 tokens: the last batch of 8 has 6, which two processes fill up with the first two rows."""

    def __init__(self, position: int, count: int = 22) -> None:
        drawn = torch.Generator().manual_seed(position)
        self.rows: list[dict[str, Any]] = []
        for number in range(count):
            ids = torch.randint(4, 20, (3 + number % 3,), generator=drawn).tolist()
            self.rows.append({"input_ids": [20 + position, *ids], "label": int(sum(ids) % 3)})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        row = self.rows[number]
        return {**row, "attention_mask": [1] * len(row["input_ids"])}


class Kill(TrainerCallback):  # type: ignore[misc]  # transformers has no types for it
    """As a killed machine would be: no process says goodbye."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            os._exit(9)


class Collator:
    """Pads with 0 on the right."""

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        padded = {
            name: torch.tensor([row[name] + [0] * (width - len(row[name])) for row in rows])
            for name in ("input_ids", "attention_mask")
        }
        return {**padded, "labels": torch.tensor([row["label"] for row in rows])}


def make_trainer(model: Any, folder: Path, position: int, batch: int, **more: Any) -> Trainer:
    arguments = {
        **{"num_train_epochs": 2, "per_device_train_batch_size": batch, "optim": "sgd", "learning_rate": 0.3},
        **{"use_cpu": True, "save_strategy": "steps", "save_steps": 2, "report_to": "none", "disable_tqdm": True},
        **{"lr_scheduler_type": "constant", "logging_strategy": "epoch", "max_grad_norm": 0.5},
    }
    args = TrainingArguments(str(folder / TASKS[position]), **{**arguments, **more})
    return Trainer(model=model, args=args, train_dataset=Rows(position), data_collator=Collator())


def sft_script(expression: str, folder: Path, batch: int, **more: Any) -> None:
    """Learn three instruction tasks in SFTTrainer; what each process has goes to ``folder``."""
    from tests.integrations import test_trainer_sft as sft

    tokenizer = sft.make_tokenizer()
    model = sft.make_model(tokenizer)
    learning = ContinualLearning(expression, str(folder / "out"), seed=0)
    losses, after = [], []
    size = {"per_device_train_batch_size": batch, "optim": "sgd", "learning_rate": 1.0}
    for task in sft.TASKS:
        trainer = sft.make_trainer(model, tokenizer, task, folder, **size, **more)
        learning.attach(trainer, task=task, test=trainer.eval_dataset)
        hooks: Any = learning.hooks
        trainer.train()
        learning.end_task(trainer)
        losses.append(torch.stack(hooks.losses))
        after.append({name: value.clone() for name, value in model.state_dict().items()})
    torch.save({"after": after, "losses": losses, "result": learning.result()}, folder / f"process-{ranks.number()}.pt")


def script(expression: str, folder: Path, batch: int, kill: int = 0, **more: Any) -> None:
    """Learn both tasks; what each process has goes to ``folder``."""
    set_seed(ranks.number())  # a script that forgets to give all processes the same weights
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = BertForSequenceClassification(BertConfig(vocab_size=24, num_labels=3, **small, **none))
    if expression.startswith(LORA):
        settings = LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"], init_lora_weights=False)
        model = get_peft_model(model, settings)
    learning = ContinualLearning(
        expression.removeprefix(LORA), str(folder / "out"), seed=0, state_dir=str(folder / "state")
    )
    losses, logged, after = [], [], []
    for position, task in enumerate(TASKS):
        trainer = make_trainer(model, folder, position, batch, **more)
        if kill > 0 and position:
            trainer.add_callback(Kill(kill))
        test = Rows(position, 12 if kill >= 0 else 12 + ranks.number())
        learning.attach(trainer, task=task, test=test)
        hooks = learning.hooks
        trainer.train(resume_from_checkpoint=learning.checkpoint(trainer))
        learning.end_task(trainer)
        if isinstance(hooks, TaskHooks):
            losses.append(torch.stack(hooks.losses))
            logged.append(trainer.state.log_history[0]["loss"])
        after.append({name: value.clone() for name, value in model.state_dict().items()})
    found = {
        **{"after": after, "losses": losses, "logged": logged, "result": learning.result()},
        "strategy": learning.strategy.state_dict(),
    }
    torch.save(found, folder / f"process-{ranks.number()}.pt")


if __name__ == "__main__":
    place, size, step, *expressions = sys.argv[1:]
    more = {} if int(size) != 2 or expressions[0].startswith(SFT) else {"gradient_accumulation_steps": 2}
    for strategy in expressions:
        own = Path(place) / strategy.replace("(", "-").replace(")", "")
        own.mkdir(parents=True, exist_ok=True)
        if strategy.startswith(SFT):
            sft_script(strategy.removeprefix(SFT), own, int(size), **more)
        else:
            script(strategy, own, int(size), int(step), **more)
