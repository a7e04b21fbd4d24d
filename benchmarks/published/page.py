"""Writes published-figures.json and .md: every figure that was run beside its band, and those that were not yet run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.published.band import verdict
from benchmarks.published.protocols import Figure
from benchmarks.report import table
from clbench.files import write_atomic

NAME = "published-figures"
HEAD = """# Published figures, met from both sides

Average accuracies of papers' tables beside ours by the same protocol, in percent. The band is the published mean ±
(3·s·√(1/n + 1/n of ours) + .5), s the standard deviation of the published runs. A mean of ours below it would mean that
a strategy falls short of its paper, one above it that our protocol is kinder: both are misses. Of one run
of ours the band is wide; where it goes beyond 100 nothing can miss it above. Where a source states a tolerance in place
of a spread, the band is that tolerance + .5.

Made by `python -m benchmarks.published [NAME ...] [--seeds N]`; data: [published-figures.json](published-figures.json).
"""
LEFT_OUT = Path(__file__).with_name("left_out.md")  # figures without a protocol, and why
SPREADS = {"sd": "standard deviation", "sem": "standard error of the mean", "tolerance": "tolerance"}
HEADER = ("figure", "published", "n", "ours", "n", "band", "verdict")


def read(figures: Sequence[Figure], output: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The rows that the page in ``output`` has, by name, and the commits of their runs.

    A row whose protocol has changed since is left out.
    """
    path = output / f"{NAME}.json"
    if not path.exists():
        return {}, []
    data = json.loads(path.read_text("utf-8"))
    protocols = {figure.name: figure.sha256 for figure in figures}
    rows = {row["name"]: row for row in data["figures"] if row["protocol"] == protocols.get(row["name"])}
    return rows, data["commits"]


def write(figures: Sequence[Figure], rows: Mapping[str, dict[str, Any]], commits: Sequence[str], output: Path) -> str:
    """Write both files into ``output``; gives the page.

    Args:
        figures: all that there are.
        rows: of those that were run, by name, what :func:`benchmarks.published.band.compare` gives.
        commits: of the code that the runs were made with.
        output: a folder.
    """
    waiting = [figure.name for figure in figures if figure.name not in rows]
    data = {"commits": list(commits), "figures": [*rows.values()], "not_run": waiting}
    output.mkdir(parents=True, exist_ok=True)
    write_atomic(output / f"{NAME}.json", json.dumps(data, indent=2, allow_nan=False) + "\n")
    text = "\n".join([*_head(figures, rows, commits), *_papers(figures, rows), LEFT_OUT.read_text("utf-8")])
    write_atomic(output / f"{NAME}.md", text)
    return text


def _head(figures: Sequence[Figure], rows: Mapping[str, dict[str, Any]], commits: Sequence[str]) -> list[str]:
    inside = sum(row["inside"] for row in rows.values())
    counted = f"{len(rows)} of {len(figures)} figures were run: {inside} inside, {len(rows) - inside} missed."
    made = f"Commits of the runs: {', '.join(commit[:12] for commit in commits)}." if commits else "No run yet."
    return [HEAD, counted, made, ""]


def _papers(figures: Sequence[Figure], rows: Mapping[str, dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for _, group in groupby(figures, key=lambda figure: figure.paper["title"]):
        ours = list(group)
        paper = ours[0].paper
        done = [figure for figure in ours if figure.name in rows]
        waiting = [figure.name for figure in ours if figure.name not in rows]
        lines += [f"## {paper['title']}", "", f"{paper['source']}; code: {paper['code']}.", ""]
        lines += [f"{paper['protocol']} {paper['differs']}", "", paper["checked"], ""]
        if done:
            lines += [f"Published ± {SPREADS[paper['kind']]}; ours ± standard deviation.", ""]
            lines += [*table(HEADER, [_cells(rows[figure.name]) for figure in done]), ""]
        lines += _misses(done, rows)
        if waiting:
            lines += [f"Not yet run: {', '.join(f'`{name}`' for name in waiting)}.", ""]
        lines += ["What differs beside that, by row:", ""]
        lines += [f"- {line}" for line in dict.fromkeys(_difference(figure) for figure in ours)]
        lines += [""]
    return lines


def _misses(figures: Sequence[Figure], rows: Mapping[str, dict[str, Any]]) -> list[str]:
    missed = [figure for figure in figures if not rows[figure.name]["inside"]]
    told = [f"- `{figure.name}`: {figure.miss or 'not yet explained.'}" for figure in missed]
    return ["Missed:", "", *told, ""] if told else []


def _difference(figure: Figure) -> str:
    name = figure.name.rpartition("-")[0]
    return f"`{name}` ({figure.row['row']}): {figure.row['differs']}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    spread = "" if row["ours_spread"] is None else f" ± {100 * row['ours_spread']:.2f}"
    return [
        f"`{row['name']}`",
        f"{100 * row['published']:.2f} ± {100 * row['spread']:.2f}",
        str(row["n"]),
        f"{100 * row['ours']:.2f}{spread}",
        str(row["ours_n"]),
        f"{100 * row['low']:.2f} to {100 * row['high']:.2f}",
        verdict(row),
    ]
