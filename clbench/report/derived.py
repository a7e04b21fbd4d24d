"""Metrics that a result.json does not hold: they need stored answers, measures inside tasks, or another run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clbench.report.rows import canonical, group, settings_but_sources, table_key
from clbench.results import (
    ACCURACY,
    CURVE_METRICS,
    Answers,
    Run,
    curve_metrics,
    expected_calibration_error,
    intransigence,
    read_answers,
    read_curve,
    recency_bias,
)

ANSWER_METRICS = ("recency_bias", "expected_calibration_error")
DERIVED = ("intransigence", *ANSWER_METRICS, *CURVE_METRICS)
REFERENCE = "joint"


def with_derived(runs: Sequence[Run], columns: Sequence[str]) -> list[Run]:
    """The runs with those of ``columns`` worked out that are DERIVED; None where a run has not what they need.

    Raises:
        InputError: a run's stored answers, or what was measured inside its tasks, are broken.
    """
    asked = [name for name in DERIVED if name in columns]
    if not asked:
        return list(runs)
    joint = group((run for run in runs if run.result["strategy"] == REFERENCE), _place)
    found = []
    for run in runs:
        values: dict[str, float | None] = dict.fromkeys(asked)
        if "intransigence" in asked and (reference := _reference(run, joint.get(_place(run), []))):
            matrices = run.result["accuracy_matrix"], _in_order(reference, run.result["tasks"])
            values["intransigence"] = intransigence(*matrices)
        if set(asked) & set(CURVE_METRICS):
            told = curve_metrics(run.result["tasks"], read_curve(run))
            values.update({name: told[name] for name in asked if name in told})
        if set(asked) & set(ANSWER_METRICS) and (answers := _at_the_end(run)):
            told = {
                "recency_bias": recency_bias(answers, run.result["setting"]),
                "expected_calibration_error": expected_calibration_error(answers),
            }
            values.update({name: told[name] for name in asked if name in told})
        found.append(replace(run, result={**run.result, "metrics": {**run.result["metrics"], **values}}))
    return found


def _place(run: Run) -> str:
    """What a run shares with its reference: all that makes a table, the seed, the tasks, and how much of the data."""
    return canonical([table_key(run), run.result["seed"], sorted(run.result["tasks"]), run.config.get("limit")])


def _reference(run: Run, candidates: Sequence[Run]) -> Run | None:
    """The only candidate, or the only one with the run's settings."""
    if len(candidates) > 1:
        own = canonical(settings_but_sources(run))
        candidates = [each for each in candidates if canonical(settings_but_sources(each)) == own]
    return candidates[0] if len(candidates) == 1 else None


def _in_order(run: Run, tasks: Sequence[str]) -> list[float | None]:
    """The last row of a run's matrix, in the order of ``tasks``."""
    final = dict(zip(run.result["tasks"], run.result["accuracy_matrix"][-1], strict=True))
    return [final[task] for task in tasks]


def _at_the_end(run: Run) -> list[Answers] | None:
    """The answers to each task's test set at the end; None where not all are there, or they are no labels."""
    names = run.result["tasks"]
    stored = (run.folder / "predictions.parquet").is_file() and None not in run.result["accuracy_matrix"][-1]
    if not stored or run.result.get("measure", ACCURACY) != ACCURACY:
        return None
    answers = read_answers(run, [(len(names), name) for name in names])
    return [answers[len(names), name] for name in names]
