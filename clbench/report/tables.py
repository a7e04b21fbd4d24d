"""Tables for people: the matrix, metrics and cost of one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clbench.report.cells import result_value
from clbench.report.columns import BESIDE
from clbench.report.wording import column_title, format_cell
from clbench.results import COSTS, METRICS
from clbench.text import DASH, clean, fixed, shorten, text_table

LONGEST_TASK_NAME = 24
LINE_METRICS = ("average_accuracy", "forgetting")
WARNINGS = ("learning_warnings", "forgetting_warnings")


def matrix_table(result: Mapping[str, Any]) -> str:
    """The accuracy matrix of a result as text: a row for each time of evaluation, a column for each task."""
    names = [clean(shorten(name, LONGEST_TASK_NAME)) for name in result["tasks"]]
    measures = result.get("measures", {})
    heads = [
        f"{name}\n{measures[task]}" if task in measures else name
        for name, task in zip(names, result["tasks"], strict=True)
    ]
    times = ["before", *(f"after {name}" for name in names)]
    rows = [[time, *map(_fraction, row)] for time, row in zip(times, result["accuracy_matrix"], strict=True)]
    return text_table([result.get("measure", "accuracy"), *heads], rows)


def metrics_table(metrics: Mapping[str, float | None], beside: Mapping[str, float] | None = None) -> str:
    """Metrics (fractions or None) and what is ``beside`` them, one a line, with the direction that is better."""
    values = {**{name: metrics[name] for name in METRICS}, **(beside or {})}
    return text_table(["metric", "value"], [[column_title(name), _fraction(value)] for name, value in values.items()])


def result_summary(result: Mapping[str, Any]) -> str:
    """What a finished run says: its name, matrix, metrics, cost and warnings of forgetting."""
    limited = ", limited to part of the data" if result["limited"] else ""
    name = f"{result['scenario']}, {result['setting']} setting, {result['model']}, seed {result['seed']}{limited}"
    beside = {name: value for name in BESIDE if (value := result_value(result, name)) is not None}
    cost = [[column_title(key), format_cell(key, result["cost"][key])] for key in COSTS]
    return "\n".join(
        [
            clean(f"{result['strategy']}: {name}"),
            "",
            matrix_table(result),
            "",
            metrics_table(result["metrics"], beside),
            "",
            text_table(["cost", "value"], cost),
            *(f"warning: {clean(line)}" for key in WARNINGS for line in result.get(key, [])),
        ]
    )


def result_line(result: Mapping[str, Any]) -> str:
    """A finished run in a line: its name, what is left at the end, what was forgotten, its time, its warnings."""
    values = [f"{name.replace('_', ' ')} {_fraction(result['metrics'][name])}" for name in LINE_METRICS]
    seconds = result["cost"]["wall_seconds"]
    warned = sum(len(result.get(key, [])) for key in WARNINGS)
    parts = [
        *values,
        *([] if seconds is None else [f"{fixed(seconds, 1)} s"]),
        *([f"{warned} warning{'s' if warned > 1 else ''}"] if warned else []),
        *(["limited to part of the data"] if result["limited"] else []),
    ]
    return clean(f"{result['strategy']}, seed {result['seed']}: {', '.join(parts)}")


def _fraction(value: float | None) -> str:
    return DASH if value is None else fixed(value, 3)
