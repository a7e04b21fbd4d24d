"""Differences from a baseline: what `compare --baseline` adds to the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import fsum

from clbench.errors import InputError
from clbench.report.example_differences import Ends, interval_over_examples
from clbench.report.pairs import Pair, baseline_of, baseline_rows, known_pairs, paired_runs, pairing_notes
from clbench.report.rows import TableRow, group, labels
from clbench.report.statistics import (
    MOST_SEEDS,
    SIGNIFICANCE,
    Difference,
    holm,
    seeds_needed,
    sign_flip_p,
    smallest_p,
    student_interval,
)
from clbench.results import ACCURACY, Run
from clbench.text import fixed

EXAMPLE_METRIC = "average_accuracy"

MetricValue = Callable[[Run, str], float | None]


def add_differences(
    rows: Sequence[TableRow], columns: Sequence[str], baseline: str, value: MetricValue, measure: str
) -> list[str]:
    """Put into the rows' cells what they differ by from the baseline; the notes that a reader needs for it.

    Args:
        rows: of one table; their cells are replaced.
        columns: the metrics.
        baseline: a row's label, or a strategy.
        value: a run's value of a metric.
        measure: of a cell of the matrix; test examples are drawn where it is accuracy.
    """
    baselines = baseline_rows(rows, baseline)
    if not baselines:
        return [f"no difference: {baseline} is none of the rows"]
    others = [row for row in rows if row not in baselines]
    found = [(row, own) for row in others if (own := baseline_of(row, baselines)) is not None]
    notes = pairing_notes(found)
    if alone := [row for row in others if all(row is not each for each, _ in found)]:
        several = f"several rows are {baseline}, none with the settings of"
        why = several if len(baselines) > 1 else "limited and whole runs do not compare"
        notes.append(f"no difference: {why}: {labels(alone)}")
    ends: Ends = {}
    families = []
    for column in columns:
        pairs = [known_pairs(paired_runs(row, own), lambda run: value(run, column)) for row, own in found]  # noqa: B023
        told = with_correction([_over_seeds(each) for each in pairs])
        if column == EXAMPLE_METRIC and measure == ACCURACY:
            told, lacking = _over_examples(told, pairs, ends)
            notes += lacking
        elif column == EXAMPLE_METRIC:
            notes.append(f"the interval over test examples is of accuracy, not of {measure}")
        for (row, _), difference in zip(found, told, strict=True):
            row.cells[column] = replace(row.cells[column], difference=difference)
        families.append(told)
    return list(dict.fromkeys([*notes, *seed_notes(max(families, key=_compared, default=[]))]))


def _compared(differences: Sequence[Difference]) -> int:
    """How many rows have a difference: what p is corrected for."""
    return sum(each.n > 0 for each in differences)


def _over_seeds(pairs: Sequence[tuple[Pair, float]]) -> Difference:
    values = [value for _, value in pairs]
    if not values:
        return Difference()
    low, high = student_interval(values) or (None, None)
    carries = seeds_needed() <= len(values) <= MOST_SEEDS
    p = sign_flip_p(values) if carries else None
    return Difference(fsum(values) / len(values), low, high, p, n=len(values))


def with_correction(differences: Sequence[Difference]) -> list[Difference]:
    """The differences of one metric with their p corrected for being so many, where their seeds can carry that."""
    rows = _compared(differences)
    corrected = holm([each.p for each in differences], rows)
    return [
        replace(each, p_holm=p) if each.n >= seeds_needed(rows) else each
        for each, p in zip(differences, corrected, strict=True)
    ]


def _over_examples(
    differences: Sequence[Difference], pairs: Sequence[Sequence[tuple[Pair, float]]], ends: Ends
) -> tuple[list[Difference], list[str]]:
    told, notes = [], []
    for difference, known in zip(differences, pairs, strict=True):
        try:
            low, high = interval_over_examples([pair for pair, _ in known], ends) if known else (None, None)
            told.append(replace(difference, example_low=low, example_high=high))
        except InputError as error:
            told.append(difference)
            notes.append(f"no interval over test examples: {error}")
    return told, notes


def seed_notes(differences: Sequence[Difference]) -> list[str]:
    """What so few seeds cannot say of the differences of one metric, and how many would do."""
    rows = _compared(differences)
    notes = []
    for seeds in sorted(group((each.n for each in differences if each.n), lambda n: n)):
        corrected = f"{seeds_needed(rows)} for one corrected over {rows} rows"
        if seeds < seeds_needed():
            smallest = fixed(smallest_p(seeds), 3)
            notes.append(
                f"{seeds} paired {'seed' if seeds == 1 else 'seeds'}: no p below {smallest} can come of it, so none is "
                f"given; {seeds_needed()} seeds would do" + (f", {corrected}" if rows > 1 else "")
            )
        elif seeds < seeds_needed(rows):
            notes.append(
                f"{seeds} paired seeds: no p corrected over {rows} rows can be {SIGNIFICANCE} or less, so none is "
                f"given; {seeds_needed(rows)} seeds would do"
            )
        elif seeds > MOST_SEEDS:
            notes.append(f"{seeds} paired seeds: the exact p is worked out for up to {MOST_SEEDS}")
    return notes


def told_apart(row: TableRow, best: TableRow, value: Callable[[Run], float | None]) -> bool | None:
    """Whether the 95 % interval of the paired difference from the best leaves 0 out; None with fewer than two pairs."""
    if row is best:
        return False
    bounds = student_interval([each for _, each in known_pairs(paired_runs(row, best), value)])
    return None if bounds is None else not bounds[0] <= 0 <= bounds[1]
