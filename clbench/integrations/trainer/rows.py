"""A Trainer's rows and batches as clbench's examples, and back through ``Learner.collate`` and ``Learner.inputs``."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clbench.data import Example
from clbench.errors import InputError
from clbench.integrations.trainer.causal import base_model, check_prompts, next_tokens, with_answers
from clbench.kinds import Kind
from clbench.models import ranks

READ = ("input_ids", "attention_mask", "token_type_ids", "labels")
LABELS = ("label", "label_ids", "labels")
ROWS_AT_ONCE = 64


def examples_of(inputs: Mapping[str, Any], position: int, kind: Kind) -> list[Example]:
    """The rows of a collated batch as examples on the host, without their padding.

    Args:
        inputs: "input_ids" (rows, tokens), "labels" (rows,) whole numbers, or (rows, tokens) where the model writes;
            "attention_mask" and "token_type_ids" (rows, tokens) where there are any. Without a mask every token counts.
        position: of the task.
        kind: what the model answers.

    Raises:
        InputError: the batch has something else, or lacks one of the first two.
    """
    for name in inputs:
        if name not in READ:
            raise InputError(f"a batch of the Trainer has {name!r}; allowed: {', '.join(READ)}")
    for name in ("input_ids", "labels"):
        if name not in inputs:
            raise InputError(f"a batch of the Trainer lacks {name!r}; it has: {', '.join(inputs) or 'nothing'}")
    labels: Tensor = inputs["labels"].cpu()
    if labels.ndim != 1 + kind.writes or labels.is_floating_point():
        found = f"{labels.dtype} of shape {tuple(labels.shape)}"
        allowed = "(rows, tokens) whole numbers" if kind.writes else "one whole number a row, its column"
        raise InputError(f"the Trainer's labels are {found}; allowed: {allowed}")
    ids: Tensor = inputs["input_ids"].cpu()
    mask: Tensor = inputs["attention_mask"].cpu().bool() if "attention_mask" in inputs else torch.ones_like(ids).bool()
    if ids.ndim != 2 or mask.shape != ids.shape:
        given = f"input_ids of shape {tuple(ids.shape)}, attention_mask of {tuple(mask.shape)}"
        raise InputError(f"a batch of the Trainer has {given}; allowed: both (rows, tokens)")
    types = inputs["token_type_ids"].cpu() if "token_type_ids" in inputs else None
    examples: list[Example] = []
    answers = (
        (next_tokens(own[kept]) for own, kept in zip(labels, mask, strict=True)) if kind.writes else labels.tolist()
    )
    for number, label in enumerate(answers):
        example = {"input_ids": ids[number][mask[number]], "label": label, "task_id": position}
        examples.append(example if types is None else {**example, "token_type_ids": types[number][mask[number]]})
    return examples


def read_task(trainer: Any, test: Any, position: int, kind: Kind, task: str) -> tuple[list[Example], list[Example]]:
    """The examples of ``task`` to learn from, and those of ``test``; see :func:`read_rows`."""
    train = read_rows(trainer, trainer.train_dataset, position, kind, f"train_dataset of task {task!r}")
    tested = read_rows(trainer, test, position, kind, f"test of task {task!r}")
    if kind.writes:
        check_prompts(tested, f"test of task {task!r}")
    return train, tested


def read_rows(trainer: Any, rows: Any, position: int, kind: Kind, where: str) -> list[Example]:
    """All ``rows`` of a data set as the Trainer's collator and model read them, in their order.

    Args:
        trainer: transformers'.
        rows: a data set with a length.
        position: of the task.
        kind: what the model answers; where it writes, examples get the text to write under "answer".
        where: what error lines call it.

    Raises:
        InputError: it has no length or no rows, or the model cannot read them; see :func:`examples_of`.
    """
    if rows is None or not hasattr(rows, "__len__") or not len(rows):
        raise InputError(f"{where} has no rows that can be counted; allowed: a data set with a length, 1 or more")
    allowed = {*inspect.signature(trainer.model.forward).parameters, *LABELS}
    allowed |= set(inspect.signature(base_model(trainer.model).forward).parameters)  # PEFT's takes anything
    found: list[Example] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        chunk = [rows[number] for number in range(start, min(start + ROWS_AT_ONCE, len(rows)))]
        if trainer.args.remove_unused_columns:
            chunk = [
                {k: v for k, v in row.items() if k in allowed} if isinstance(row, Mapping) else row for row in chunk
            ]
        if kind.writes and "input_ids" not in chunk[0]:
            raise InputError(
                f"{where} is not tokenised; allowed: what SFTTrainer makes of it: give it to SFTTrainer as "
                "eval_dataset, and trainer.eval_dataset to attach()"
            )
        found += examples_of(trainer.data_collator(chunk), position, kind)
    return with_answers(found, trainer.processing_class) if kind.writes else found


def rows_hash(examples: Sequence[Example]) -> str:
    """SHA-256 of what the model reads and of the labels, in this order."""
    digest = hashlib.sha256()
    for example in examples:
        for name in ("input_ids", "token_type_ids"):
            if name in example:
                digest.update(f"{name} {example[name].tolist()}".encode())
        label = example["label"]
        digest.update(f"label {label.tolist() if isinstance(label, Tensor) else label}".encode())
    return digest.hexdigest()


def shared_hash(examples: Sequence[Example], task: str) -> str:
    """:func:`rows_hash` of ``task``'s examples, which all processes have alike.

    Raises:
        InputError: they do not.
    """
    found = ranks.gathered(rows_hash(examples))
    for process, other in enumerate(found):
        if other != found[0]:
            raise InputError(
                f"task {task!r}: processes 0 and {process} have other data or another order; allowed: all data, the "
                "same in each process, of which the Trainer gives each its part"
            )
    return found[0]
