"""What was measured inside tasks (``run --evaluate-every``): curve.parquet read back, and the metrics of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum

from clbench.errors import InputError
from clbench.files import read_file
from clbench.results.folder import CURVE_COLUMNS
from clbench.results.runs import Run
from clbench.results.schema import REMEDY

CURVE_METRICS: tuple[str, ...] = ("min_accuracy", "worst_case_accuracy", "stability_gap", "recovery_steps")


@dataclass(frozen=True)
class Stage:
    """The learning of one task, as it was measured: at ``steps``, the last of which is its end.

    ``measures`` has for each task learned so far, the new one too, its measure at each of the steps.
    """

    learning: str
    steps: tuple[int, ...]
    measures: Mapping[str, tuple[float, ...]]


def read_curve(run: Run) -> list[Stage]:
    """The stages of a run, in order; none where nothing was measured inside its tasks.

    Raises:
        InputError: curve.parquet is missing or not the file that result.json names.
    """
    import io

    import pyarrow.parquet as pq

    if "curve_sha256" not in run.result:
        return []
    path = run.folder / "curve.parquet"
    try:
        content = read_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; {REMEDY}") from error
    if hashlib.sha256(content).hexdigest() != run.result["curve_sha256"]:
        raise InputError(f"{path}: was changed or cut, or is another run's: not what result.json names; {REMEDY}")
    columns = pq.read_table(io.BytesIO(content), columns=list(CURVE_COLUMNS)).to_pydict()
    cells: dict[str, dict[str, dict[int, float]]] = {}
    for learning, step, task, measure in zip(*(columns[name] for name in CURVE_COLUMNS), strict=True):
        cells.setdefault(learning, {}).setdefault(task, {})[step] = measure
    return [_stage(learning, tasks) for learning, tasks in cells.items()]


def _stage(learning: str, tasks: Mapping[str, Mapping[int, float]]) -> Stage:
    steps = sorted({step for measures in tasks.values() for step in measures})
    whole = {task: tuple(own[step] for step in steps) for task, own in tasks.items() if len(own) == len(steps)}
    return Stage(learning, tuple(steps), whole)


def curve_metrics(tasks: Sequence[str], stages: Sequence[Stage]) -> dict[str, float | None]:
    """The metrics of what was measured inside tasks; A(j, n) is the accuracy on task j after n steps.

    - ``min_accuracy``: mean over j < T of the least A(j, n) since task j was learned: min-ACC of De Lange et al. 2023,
      "Continual evaluation for lifelong learning: Identifying the stability gap".
    - ``worst_case_accuracy``: 1/T of the accuracy on task T at the end and 1 - 1/T of ``min_accuracy``: their WC-ACC.
    - ``stability_gap``: mean over each task i > 1 and each j < i of how far A(j, n) dips, while i is learned, below
      what it was right before; 0 where it does not.
    - ``recovery_steps``: mean over the same of the steps from there until A(j, n) is, after its lowest point, what it
      was; 0 without a dip, and all steps of task i where it does not come back, which is a lower bound.

    The last two are clbench's own, for what the paper shows as figures. All see only the steps that were measured.

    Args:
        tasks: their names in the order of learning.
        stages: of a run.

    Returns:
        Each by name; None for one task, and where a task was not measured inside its learning.
    """
    pairs = _switches(tasks, stages)
    if not pairs:
        return dict.fromkeys(CURVE_METRICS)
    lowest = {
        task: min(min(stage.measures[task]) for stage in stages[number + 1 :]) for number, task in enumerate(tasks[:-1])
    }
    least = _mean(list(lowest.values()))
    last = stages[-1].measures[tasks[-1]][-1]
    return {
        "min_accuracy": least,
        "worst_case_accuracy": last / len(tasks) + (1 - 1 / len(tasks)) * least,
        "stability_gap": _mean([max(0.0, pair.before - min(pair.measures)) for pair in pairs]),
        "recovery_steps": _mean([pair.recovery() for pair in pairs]),
    }


@dataclass(frozen=True)
class _Switch:
    """An earlier task while another is learned: its measure before, and after so many ``steps`` of the other."""

    before: float
    steps: tuple[int, ...]
    measures: tuple[float, ...]

    def recovery(self) -> float:
        least = min(self.measures)
        if least >= self.before:
            return 0.0
        after = zip(self.steps, self.measures, strict=True)
        lowest = self.steps[self.measures.index(least)]
        back = (step for step, measure in after if step > lowest and measure >= self.before)
        return float(next(back, self.steps[-1]))


def _switches(tasks: Sequence[str], stages: Sequence[Stage]) -> list[_Switch]:
    """Each earlier task in each stage; none where not all of it was measured, inside tasks too."""
    if [stage.learning for stage in stages] != list(tasks) or any(len(stage.steps) < 2 for stage in stages[1:]):
        return []
    if any(task not in stage.measures for number, stage in enumerate(stages) for task in tasks[: number + 1]):
        return []
    return [
        _Switch(
            before.measures[task][-1],
            tuple(step - before.steps[-1] for step in stage.steps),
            stage.measures[task],
        )
        for before, stage in pairwise(stages)
        for task in tasks[: stages.index(stage)]
    ]


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
