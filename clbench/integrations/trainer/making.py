"""clbench's learner around a Trainer's model, and the settings of a run as far as a Trainer has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clbench.clock import Clock
from clbench.config import RunConfig, make_config
from clbench.data import LabelSpace
from clbench.head import make_head
from clbench.integrations.trainer.asked import label_names
from clbench.kinds import Kind
from clbench.learner import Learner
from clbench.models import ranks


def first_learner(trainer: Any, kind: Kind, setting: str, columns: tuple[int, ...], seed: int) -> Learner:
    """A learner with one task, whose labels have ``columns``; none where the model writes."""
    args, tokenizer, model = trainer.args, trainer.processing_class, trainer.model
    # Each process may have drawn the new weights for itself.
    ranks.take_from_first([*model.parameters(), *model.buffers()])
    padding = getattr(tokenizer, "pad_token_id", None)
    learner = Learner(
        model,
        LabelSpace(setting, () if kind.writes else label_names(model.config), (columns,)),
        kind=kind,
        tokenizer=tokenizer,
        seed=seed,
        padding_id=padding if padding is not None else model.config.pad_token_id or 0,
        precision="bf16" if args.bf16 else "fp32",
        lr=args.learning_rate,
        head_lr=args.learning_rate,
        head=make_head(model, None) if kind.writes else None,
        # A model that writes is trained with its padding on the right, and pads on the left to write.
        padding_side="right" if kind.writes else getattr(tokenizer, "padding_side", "right"),
        clock=Clock(device=args.device),
    )
    learner.tasks_seen = learner.tasks
    return learner


def add_task(learner: Learner, position: int, columns: tuple[int, ...]) -> None:
    """Let the task at ``position`` be the last; one there of an ``attach`` that was refused is no task."""
    labels = learner.labels
    learner.labels = LabelSpace(labels.setting, labels.names, (*labels.columns[:position], columns))
    learner.tasks = learner.tasks_seen = len(learner.labels.columns)
    learner.measures = learner.measures[:1] * learner.tasks


def task_config(learner: Learner, trainer: Any, said: Mapping[str, Any]) -> RunConfig:
    """What a strategy reads of a run's settings.

    Args:
        learner: the model.
        trainer: of the task; None for what all tasks have.
        said: what the person said of the run, by the names of a run's settings.
    """
    model = getattr(learner.model.config, "_name_or_path", "") or type(learner.model).__name__
    options = {**said, "model": str(model), "device": str(learner.device)}
    if trainer is not None:
        args = trainer.args
        batch_size = args.per_device_train_batch_size * args.gradient_accumulation_steps * ranks.count()
        options |= {"batch_size": batch_size, "weight_decay": float(args.weight_decay)}
        if args.learning_rate > 0:
            options |= {"lr": args.learning_rate, "head_lr": args.learning_rate}
    return make_config(options)
