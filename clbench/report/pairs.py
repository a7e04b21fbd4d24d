"""Which rows and runs a difference from a baseline is between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clbench.report.rows import TableRow, canonical, group, labels, settings_but_sources
from clbench.results import Run

Pair = tuple[Run, Run]
"""Two runs of one seed: a row's and the baseline's."""
Value = Callable[[Run], float | None]


def baseline_rows(rows: Sequence[TableRow], name: str) -> list[TableRow]:
    """The rows that are the baseline: that of this label, else those of this strategy."""
    return [row for row in rows if row.label == name] or [row for row in rows if row.strategy == name]


def baseline_of(row: TableRow, baselines: Sequence[TableRow]) -> TableRow | None:
    """What ``row`` is compared with: the only baseline of as many examples, or the only one with its settings."""
    alike = [each for each in baselines if each.limited == row.limited]
    if len(alike) > 1:
        alike = [each for each in alike if _settings(each) == _settings(row)]
    return alike[0] if len(alike) == 1 else None


def _settings(row: TableRow) -> str:
    return canonical(settings_but_sources(row.runs[0], any_tasks="tasks" not in row.settings))


def paired_runs(row: TableRow, baseline: TableRow) -> list[Pair]:
    """The runs of both that share a seed and the same tasks, by seed."""
    others = {run.result["seed"]: run for run in baseline.runs}
    pairs = [(run, others[run.result["seed"]]) for run in row.runs if run.result["seed"] in others]
    same = [pair for pair in pairs if len({frozenset(run.result["tasks"]) for run in pair}) == 1]
    return sorted(same, key=lambda pair: int(pair[0].result["seed"]))


def known_pairs(pairs: Sequence[Pair], value: Value) -> list[tuple[Pair, float]]:
    """The pairs of which both have a value, and the difference of these."""
    found = [(pair, value(pair[0]), value(pair[1])) for pair in pairs]
    return [(pair, one - other) for pair, one, other in found if one is not None and other is not None]


def pairing_notes(pairs: Sequence[tuple[TableRow, TableRow]]) -> list[str]:
    """How many runs have a partner, for the rows where some have none."""
    counts = [(len(paired_runs(row, own)), len(row.runs), len(own.runs), row) for row, own in pairs]
    short = group((each for each in counts if each[0] < max(each[1:3])), lambda each: each[:3])
    return [
        f"paired by seed are {paired} of {count} and {others} runs, the others are left out of differences: "
        f"{labels([each[3] for each in same])}"
        for (paired, count, others), same in short.items()
    ]
