"""What the page's script draws: matrices, metrics and mistakes of a comparison's rows, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum
from typing import Any

from clbench.errors import InputError
from clbench.report.columns import COLUMNS, higher_is_better
from clbench.report.comparison import Comparison, Table
from clbench.report.mistake_records import TaskErrors
from clbench.report.mistakes import find_errors
from clbench.report.rows import TableRow
from clbench.report.wording import column_title
from clbench.results import ACCURACY, Run
from clbench.text import clean, shorten

Texts = Mapping[str, Sequence[str]]
"""The texts of a task's split, by task."""
DIGITS = 4
MOST_LABELS, MOST_MISTAKES = 40, 3
LONGEST_TEXT, LONGEST_LABEL = 200, 60


def page_data(comparison: Comparison, texts: Mapping[str, Texts]) -> list[dict[str, Any]]:
    """One object a table; ``texts`` has those of the runs whose mistakes are shown, by the run's folder."""
    return [_table(table, comparison, texts) for table in comparison.tables]


def shown_run(row: TableRow) -> Run:
    """The run whose mistakes stand for its row: that of the smallest seed."""
    return min(row.runs, key=lambda run: int(run.result["seed"]))


def _table(table: Table, comparison: Comparison, texts: Mapping[str, Texts]) -> dict[str, Any]:
    sequences = {tuple(run.result["tasks"]) for row in table.rows for run in row.runs}
    tasks = list(sequences.pop()) if len(sequences) == 1 else []
    longest = max(len(run.result["tasks"]) for row in table.rows for run in row.runs)
    found: dict[str, dict[int, str]] = {}
    names: dict[str, int] = {}
    rows = [_row(row, comparison.columns, texts, found, names) for row in table.rows]
    return {
        "tasks": [clean(name) for name in tasks] or [f"task {i + 1}" for i in range(longest)],
        "measure": table.measure,
        "columns": [
            {"name": name, "title": column_title(name), "higher": higher_is_better(name) if name in COLUMNS else None}
            for name in comparison.columns
        ],
        "rows": rows,
        "texts": found,
        "names": list(names),  # of labels and tasks: numbers stand for them in confusions and mistakes
    }


def _row(
    row: TableRow,
    columns: Sequence[str],
    texts: Mapping[str, Texts],
    found: dict[str, dict[int, str]],
    names: dict[str, int],
) -> dict[str, Any]:
    values = {name: [_rounded(row.cells[name].mean), _rounded(row.cells[name].std)] for name in columns}
    run = shown_run(row)
    errors, note = _errors(run, texts.get(str(run.folder), {}), found, names)
    return {
        "label": clean(row.label),
        "seeds": row.seeds,
        "values": values,
        "matrix": _mean_matrix([run.result["accuracy_matrix"] for run in row.runs]),
        "shown": {"seed": run.result["seed"], "note": note, "errors": errors},
    }


def _mean_matrix(matrices: Sequence[Sequence[Sequence[float | None]]]) -> list[list[float | None]]:
    """The mean of each cell, None where a run has none."""
    return [[_mean(cells) for cells in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _rounded(fsum(known) / len(known)) if len(known) == len(values) else None


def _errors(
    run: Run, texts: Texts, found: dict[str, dict[int, str]], names: dict[str, int]
) -> tuple[dict[str, Any], str]:
    if run.result.get("measure", ACCURACY) != ACCURACY:
        return {}, "no confusion: answers are no labels"
    try:
        errors = find_errors(run)
    except InputError as error:
        return {}, f"no confusion: {error}"
    for task in errors.tasks:
        for mistake in task.mistakes[:MOST_MISTAKES]:
            if task.task in texts:
                short = shorten(clean(" ".join(texts[task.task][mistake.index].split())), LONGEST_TEXT)
                found.setdefault(clean(task.task), {})[mistake.index] = short
    return {clean(task.task): _task(task, names) for task in errors.tasks}, ""


def _task(task: TaskErrors, names: dict[str, int]) -> dict[str, Any]:
    """Confusions as triples of places, without zeros; of many labels the confusions that are most frequent."""
    labels, answers = task.confusion.labels, task.confusion.answers
    cells = [[i, j, count] for i, counts in enumerate(task.confusion.counts) for j, count in enumerate(counts) if count]
    whole = len(labels) <= MOST_LABELS and len(answers) <= MOST_LABELS
    if not whole:
        cells = sorted((cell for cell in cells if labels[cell[0]] != answers[cell[1]]), key=lambda cell: -cell[2])
        cells = cells[:MOST_LABELS]
    used = range(len(answers)) if whole else sorted({cell[1] for cell in cells})
    place = {j: k for k, j in enumerate(used)}
    return {
        "examples": task.examples,
        "wrong": task.wrong,
        "learned": _rounded(task.accuracy_when_learned),
        "whole": whole,
        "labels": [_number(label, names) for label in labels],
        "answers": [_number(answers[j], names) for j in used],
        "whose": [_number(task.confusion.answer_tasks[j], names) for j in used],
        "cells": [[i, place[j], count] for i, j, count in cells],
        "mistakes": [
            [
                each.index,
                *(_number(name, names) for name in (each.label, each.answer, each.answer_task)),
                _rounded(each.confidence),
            ]
            for each in task.mistakes[:MOST_MISTAKES]
        ],
    }


def _number(name: str | None, names: dict[str, int]) -> int:
    """The place of a label or task among the names that the page holds once; a new one gets the next."""
    return names.setdefault(shorten(clean(name or ""), LONGEST_LABEL), len(names))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
