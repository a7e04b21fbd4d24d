"""What a person asks for: a task's labels, by their names or columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clbench.data import Example
from clbench.errors import InputError, unknown
from clbench.kinds import Kind


def label_names(config: Any) -> tuple[str, ...]:
    """The label of each column, as the model's config has it."""
    named: Mapping[int, str] = config.id2label
    return tuple(str(named.get(column, column)) for column in range(config.num_labels))


def task_columns(
    config: Any, kind: Kind, task: str, setting: str, labels: Sequence[str | int] | None, examples: Sequence[Example]
) -> tuple[int, ...]:
    """The output layer's columns of a task's labels; none where the model writes.

    Args:
        config: the model's.
        kind: what the model answers.
        task: its name.
        setting: of the sequence.
        labels: the task's, by column or name; None for those that occur, or all in the setting "domain".
        examples: all of the task's.

    Raises:
        InputError: a label is unknown, or occurs and is none of the task's.
    """
    if kind.writes and labels is not None:
        raise InputError(f"labels={list(labels)} of task {task!r}: the model writes, and has none; leave them away")
    if kind.writes:
        return ()
    names = label_names(config)
    occurring = {int(example["label"]) for example in examples}
    if labels is None:
        columns = set(range(len(names))) if setting == "domain" else occurring
    else:
        for label in labels:
            if label not in names and label not in range(len(names)):
                raise unknown(f"label of task {task!r}:", str(label), names)
        columns = {label if isinstance(label, int) else names.index(label) for label in labels}
    allowed = set(range(len(names))) if setting == "domain" else columns
    if labels is not None and setting == "domain" and columns != allowed:
        raise InputError(f"labels={list(labels)} of task {task!r}: in setting 'domain' every task has all labels")
    if strange := sorted(occurring - allowed):
        raise InputError(f"task {task!r} has the label {strange[0]}; allowed: {sorted(allowed)}")
    return tuple(sorted(columns))
