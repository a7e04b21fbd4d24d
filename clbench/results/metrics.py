"""Metrics of continual learning: pure functions of the accuracy matrix.

The matrix has T+1 rows and T columns. Row ``i`` holds the accuracy on every task after the first ``i`` tasks were
learned, so row 0 is the model before any training; ``None`` stands where nothing was measured. Formulas count tasks
from 1: their R[i][j] is ``matrix[i][j - 1]``. A metric that needs an unmeasured cell is ``None``, never a number; so
are, for one task, the metrics over earlier tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import fsum, isfinite

from clbench.results.matrix import Matrix, MatrixFile, check_matrix, read_matrix

__all__ = [
    "LOWER_IS_BETTER",
    "METRICS",
    "Matrix",
    "MatrixFile",
    "average_accuracy",
    "average_incremental_accuracy",
    "backward_transfer",
    "compute_metrics",
    "forgetting",
    "forgetting_matrix",
    "forward_transfer",
    "intransigence",
    "learning_accuracy",
    "read_matrix",
    "relative_forgetting",
    "worst_retention",
]


def average_accuracy(matrix: Matrix) -> float | None:
    """Mean over j of R[T][j]: accuracy on all tasks at the end (Lopez-Paz & Ranzato 2017, eq. 2, "ACC")."""
    check_matrix(matrix)
    return _mean(matrix[-1])


def learning_accuracy(matrix: Matrix) -> float | None:
    """Mean over j of R[j][j]: accuracy on each task right after learning it (Riemer et al. 2019, "LA")."""
    return _mean(matrix[j + 1][j] for j in range(check_matrix(matrix)))


def average_incremental_accuracy(matrix: Matrix) -> float | None:
    """Mean over i ≥ 1 of the mean over j ≤ i of R[i][j]: accuracy on the tasks seen so far (Rebuffi et al. 2017)."""
    return _mean(_mean(matrix[i][:i]) for i in range(1, check_matrix(matrix) + 1))


def forgetting(matrix: Matrix) -> float | None:
    """Mean over j < T of (max over j ≤ i < T of R[i][j]) - R[T][j] (Chaudhry et al. 2018); negative if tasks improved.

    The maximum starts when task j has been learned: what was reached before that is transfer.
    """
    tasks = check_matrix(matrix)
    return _mean(_drop(matrix, tasks, j) for j in range(tasks - 1))


def relative_forgetting(matrix: Matrix) -> float | None:
    """Mean over j < T of what was forgotten of task j as a share of its best accuracy before: 1 if all was lost.

    That is ``forgetting`` with each task's drop divided by the maximum that it is measured from (Chaudhry et al. 2018),
    as memory research tells relative from absolute forgetting (Wixted 2022): 10 of 20 % lost is more than 10 of 90 %.
    None if that maximum is 0, or next to it.
    """
    tasks = check_matrix(matrix)
    return _mean(_ratio(_drop(matrix, tasks, j), _best(matrix, tasks, j)) for j in range(tasks - 1))


def intransigence(matrix: Matrix, reference: Sequence[float | None]) -> float | None:
    """Mean over j of R*[j] - R[j][j]: how much worse tasks are learned than by a reference (Chaudhry et al. 2018).

    Negative if they are learned better. The paper's reference for task j was trained jointly on tasks 1 to j; here it
    is one run that was trained jointly on all, so that later tasks helped it or took its capacity.

    Args:
        matrix: the run's.
        reference: the accuracy on each task of the model that was trained jointly, T fractions or None.
    """
    return _mean(
        _difference(best, matrix[j + 1][j]) for j, best in zip(range(check_matrix(matrix)), reference, strict=True)
    )


def backward_transfer(matrix: Matrix) -> float | None:
    """Mean over j < T of R[T][j] - R[j][j]: what later tasks did to earlier ones (Lopez-Paz & Ranzato 2017, eq. 3)."""
    tasks = check_matrix(matrix)
    return _mean(_difference(matrix[tasks][j], matrix[j + 1][j]) for j in range(tasks - 1))


def forward_transfer(matrix: Matrix) -> float | None:
    """Mean over j > 1 of R[j-1][j] - R[0][j]: what earlier tasks give to the next (Lopez-Paz & Ranzato 2017, eq. 4).

    Row 0, the model before training, is the random baseline of the paper.
    """
    return _mean(_difference(matrix[j][j], matrix[0][j]) for j in range(1, check_matrix(matrix)))


def worst_retention(matrix: Matrix) -> float | None:
    """Minimum over j < T of R[T][j] / R[j][j]: the share that is left of the worst kept task; 1 if nothing was lost.

    None if a task was learned to accuracy 0, or next to it: the ratio is not defined. The measure is clbench's own; a
    mean over tasks hides the one that is lost.
    """
    tasks = check_matrix(matrix)
    ratios = [_ratio(matrix[tasks][j], matrix[j + 1][j]) for j in range(tasks - 1)]
    known = [ratio for ratio in ratios if ratio is not None]
    return min(known) if known and len(known) == len(ratios) else None


METRICS: dict[str, Callable[[Matrix], float | None]] = {
    "average_accuracy": average_accuracy,
    "learning_accuracy": learning_accuracy,
    "average_incremental_accuracy": average_incremental_accuracy,
    "forgetting": forgetting,
    "relative_forgetting": relative_forgetting,
    "backward_transfer": backward_transfer,
    "forward_transfer": forward_transfer,
    "worst_retention": worst_retention,
}

LOWER_IS_BETTER = {
    *("forgetting", "relative_forgetting", "intransigence", "expected_calibration_error"),
    *("ability_lost", "stability_gap", "recovery_steps"),
}


def compute_metrics(matrix: Matrix) -> dict[str, float | None]:
    """Every metric, by name, of T+1 rows of T fractions 0..1 or None; InputError for anything else."""
    return {name: metric(matrix) for name, metric in METRICS.items()}


def forgetting_matrix(matrix: Matrix) -> list[list[float | None]]:
    """What was lost of each task after each later one: T rows of T numbers (f of Chaudhry et al. 2018).

    Entry [i][j], counted from 0, is the best accuracy on task j since it was learned and before task i was, minus that
    after task i. None on and above the diagonal and where a cell that is needed is unmeasured. The mean of the last
    row is ``forgetting``.
    """
    tasks = check_matrix(matrix)
    return [[_drop(matrix, i, j) for j in range(tasks)] for i in range(1, tasks + 1)]


def _drop(matrix: Matrix, row: int, column: int) -> float | None:
    """The best of a column from the row that learned its task until before ``row``, minus the cell in ``row``."""
    return _difference(_best(matrix, row, column), matrix[row][column])


def _best(matrix: Matrix, row: int, column: int) -> float | None:
    earlier = [matrix[k][column] for k in range(column + 1, row)]
    known = [cell for cell in earlier if cell is not None]
    return max(known) if known and len(known) == len(earlier) else None


def _mean(values: Iterable[float | None]) -> float | None:
    every = list(values)
    known = [value for value in every if value is not None]
    return fsum(known) / len(known) if known and len(known) == len(every) else None


def _difference(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


def _ratio(part: float | None, whole: float | None) -> float | None:
    ratio = None if part is None or not whole else part / whole
    return ratio if ratio is None or isfinite(ratio) else None
