"""What a person asks for: strategies by an expression, a task's labels by their names or columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clbench.data import Example
from clbench.errors import InputError, unknown
from clbench.plugins import Component, available, build, canonical, find, is_foreign, parse_expression, source_hash
from clbench.strategy import Strategy


def label_names(config: Any) -> tuple[str, ...]:
    """The label of each column, as the model's config has it."""
    named: Mapping[int, str] = config.id2label
    return tuple(str(named.get(column, column)) for column in range(config.num_labels))


def build_strategies(expression: str) -> tuple[str, dict[str, str], list[tuple[str, Strategy]]]:
    """The expression in its one spelling, the hash of each strategy's code, and the strategies by name.

    Raises:
        InputError: a strategy is unknown or cannot be made.
    """
    components, hashes, members = [], {}, []
    for component in parse_expression(expression):
        path = find("strategy", component.name)
        own_name = available("strategy").get(path.stem) in (None, path)
        short = component.name if is_foreign(component.name) else path.stem if own_name else path.name
        components.append(Component(short, component.arguments))
        hashes[f"strategy:{short}"] = source_hash(path)
        strategy = build("strategy", component.name, component.arguments, label=short)
        if not isinstance(strategy, Strategy):
            raise InputError(f"{path.name} defines {type(strategy).__name__}, which is no clbench.strategy.Strategy")
        members.append((short, strategy))
    return canonical(tuple(components)), dict(sorted(hashes.items())), members


def task_columns(
    config: Any, task: str, setting: str, labels: Sequence[str | int] | None, examples: Sequence[Example]
) -> tuple[int, ...]:
    """The output layer's columns of a task's labels.

    Args:
        config: the model's.
        task: its name.
        setting: of the sequence.
        labels: the task's, by column or name; None for those that occur, or all in the setting "domain".
        examples: all of the task's.

    Raises:
        InputError: a label is unknown, or occurs and is none of the task's.
    """
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
