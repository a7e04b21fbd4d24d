"""The parts of the page that are read without its script: tables, statistics, runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clbench.report.comparison import Comparison, Table
from clbench.report.difference_words import difference_heading, difference_legend, difference_lines
from clbench.report.hardware import hardware_text
from clbench.report.page.html import data_table, details, element, paragraphs, text, text_lines
from clbench.report.tables import WARNINGS
from clbench.report.wording import column_title, format_cell, legend, marked, title
from clbench.results import Run, RunFolder
from clbench.text import DASH, shorten

PLOTS = {
    "curves": "Accuracy as tasks are learned",
    "matrix": "Accuracy on each task, before training and after each task",
    "tradeoff": "What is learned against what is forgotten",
    "cost": "What it costs",
    "tasks": "Task by task: confusions and worst mistakes",
}
LONGEST_VALUE = 400


def table_section(table: Table, comparison: Comparison, number: int) -> str:
    """A table of the comparison with all that belongs to it; ``number`` ties it to the script's data."""
    rows = [
        [
            (row.label, None),
            (str(len(row.runs)), len(row.runs)),
            *(
                (marked(cell, format_cell(name, cell.mean, cell.std), "{}*".format), cell.mean)
                for name in comparison.columns
                for cell in [row.cells[name]]
            ),
        ]
        for row in table.rows
    ]
    header = ["strategy", "seeds", *map(column_title, comparison.columns)]
    return element(
        "section",
        element("h2", text(title(table))),
        data_table("Comparison: means over seeds", header, rows),
        paragraphs([*legend(table, "*", comparison.baseline), *table.notes]),
        *_differences(table, comparison),
        *(element("div", element("h3", text(said)), class_="plot", data_kind=kind) for kind, said in PLOTS.items()),
        *_runs_parts([run for row in table.rows for run in row.runs]),
        id=f"table-{number}",
        data_table=number,
    )


def _differences(table: Table, comparison: Comparison) -> list[str]:
    if comparison.baseline is None:
        return []
    parts = []
    for metric in [name for name in ("average_accuracy",) if name in comparison.columns]:
        header, *lines = difference_lines(table, metric)
        told = {row.label: row.cells[metric].difference for row in table.rows}
        if lines:
            heading = difference_heading(metric, comparison.baseline)
            rows = [
                [
                    (line[0], None),
                    *((cell, _sorting(header[i], cell, told[line[0]])) for i, cell in enumerate(line[1:], 1)),
                ]
                for line in lines
            ]
            parts += [element("h3", text(heading)), data_table(heading, header, rows)]
            parts.append(paragraphs(difference_legend([header, *lines])))
    return parts


def _sorting(name: str, cell: str, told: Any) -> object:
    """The number that sorts a cell of a difference: of an interval its lower bound."""
    numbers = {
        "pairs": told.n, "difference": told.difference, "95 % over seeds": told.low, "p": told.p, "p Holm": told.p_holm,
        "95 % over examples": told.example_low,
    }  # fmt: skip
    return None if cell == DASH else numbers[name]


def _runs_parts(runs: Sequence[Run]) -> list[str]:
    """How runs were made: a table of them, what they all share, and of each the rest, closed until it is asked for."""
    settings = [_settings(run) for run in runs]
    shared = {key: value for key, value in settings[0].items() if all(each.get(key) == value for each in settings)}
    rows = [[_short(value) for value in _facts(run)] for run in runs]
    return [
        element("h3", text("Runs: how each was made")),
        data_table("Runs", ["strategy", "seed", "wall (s)", "warnings", "commit", "hardware", "folder"], rows),
        details("Settings that all these runs share", _lines(shared)),
        *(
            details(
                f"{run.result['strategy']}, seed {run.result['seed']}",
                paragraphs(_warnings(run), "warning"),
                _lines({key: value for key, value in own.items() if key not in shared}),
            )
            for run, own in zip(runs, settings, strict=True)
        ),
    ]


def _settings(run: Run) -> dict[str, str]:
    """The command, versions, hardware, hashes and resolved values of a run, by name."""
    environment = RunFolder(run.folder).read_environment()
    found = {"command": environment.pop("command", DASH), **environment, **run.config}
    return {
        key: shorten(value if isinstance(value, str) else _json(value), LONGEST_VALUE) for key, value in found.items()
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _lines(settings: Mapping[str, str]) -> str:
    return element("pre", text_lines(f"{key}: {value}" for key, value in settings.items()))


def _facts(run: Run) -> list[object]:
    environment = RunFolder(run.folder).read_environment()
    commit = str(environment.get("commit") or DASH)[:8] + (" (changed since)" if environment.get("dirty") else "")
    warned = len(_warnings(run))
    seconds = run.result["cost"]["wall_seconds"]
    return [run.result["strategy"], run.result["seed"], seconds, warned, commit, hardware_text(run), str(run.folder)]


def _short(value: object) -> tuple[str, object]:
    if value is None:
        return DASH, None
    number = value if isinstance(value, int | float) else None
    return (f"{value:.1f}" if isinstance(value, float) else str(value)), number


def _warnings(run: Run) -> list[str]:
    return [line for key in (*WARNINGS, "model_warnings") for line in run.result.get(key, [])]
