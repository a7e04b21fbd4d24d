"""Finished runs as pandas data frames, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.errors import InputError
from clbench.report.comparison import Metric, compare
from clbench.report.hardware import hardware_text
from clbench.report.rendering import render
from clbench.report.statistics import Difference
from clbench.results import COSTS, METRICS, Run, RunFolder, find_runs

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ("scenario", "setting", "strategy", "model", "seed")


class Runs(Sequence[Run]):
    """Finished runs. Printed, they are their comparison.

    Args:
        runs: the runs; each has ``folder``, ``result`` and ``config``.
        skipped: a line for each folder that holds no finished run.
    """

    def __init__(self, runs: Iterable[Run], skipped: Sequence[str] = ()) -> None:
        self.runs = tuple(runs)
        self.skipped = tuple(skipped)

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: Any) -> Any:
        return Runs(self.runs[index]) if isinstance(index, slice) else self.runs[index]

    def __repr__(self) -> str:
        return render(compare(self.runs)) if self.runs else "no finished run"

    def frame(self) -> pd.DataFrame:
        """One row a run: what it is, its metrics (fractions), its costs (seconds, bytes, counts) and its folder."""
        rows = [
            {
                **_identity(run),
                "limited": run.result["limited"],
                "hardware": hardware_text(run),
                **{name: run.result["metrics"][name] for name in METRICS},
                **{name: run.result["cost"][name] for name in COSTS},
                "folder": str(run.folder),
            }
            for run in self.runs
        ]
        return _frame(rows, [*IDENTITY, "limited", "hardware", *METRICS, *COSTS, "folder"])

    def cells(self) -> pd.DataFrame:
        """One row a measured cell of an accuracy matrix: ``after_task`` tasks were learned, ``accuracy`` in 0..1."""
        return _frame([row for run in self.runs for row in _cells(run)], [*IDENTITY, "after_task", "task", "accuracy"])

    def predictions(self) -> pd.DataFrame:
        """One row a prediction: of which run, after how many tasks, of which test example, and how confident."""
        import pandas as pd

        parts = [
            pd.DataFrame(RunFolder(run.folder).read_predictions()).assign(**_identity(run))
            for run in self.runs
            if (run.folder / "predictions.parquet").is_file()
        ]
        columns = [*IDENTITY, "after_task", "task", "index", "label", "prediction", "confidence"]
        return pd.concat(parts, ignore_index=True)[columns] if parts else _frame([], columns)

    def compare(
        self,
        metrics: Sequence[str | Metric] | None = None,
        sort: str | None = None,
        baseline: str | None = None,
    ) -> pd.DataFrame:
        """One row a strategy and its settings: for each metric or cost its mean, standard deviation and count of runs.

        What a reader must know before comparing rows stands in ``attrs["notes"]``.

        Args:
            metrics: the columns, as ``clbench compare --metric`` takes them, or functions of the accuracy matrix; its
                default where None.
            sort: the column of which the best comes first.
            baseline: a strategy; then each metric also has its ``difference`` from it, ``low``, ``high``, ``p``,
                ``p_holm``, ``n``, ``example_low`` and ``example_high``, after its name and an underscore.
        """
        comparison = compare(self.runs, metrics, sort, baseline)
        compared = comparison.metrics if baseline is not None else ()
        rows = [
            {
                "scenario": table.scenario,
                "setting": table.setting,
                "model": table.model,
                "eval_split": table.split,
                "measure": table.measure,
                "strategy": row.label,
                "seeds": len(row.runs),
                **{
                    key: value
                    for name, cell in row.cells.items()
                    for key, value in ((name, cell.mean), (f"{name}_std", cell.std), (f"{name}_count", cell.count))
                },
                **{
                    f"{name}_{key}": value
                    for name in compared
                    for key, value in asdict(row.cells[name].difference or Difference()).items()
                },
            }
            for table in comparison.tables
            for row in table.rows
        ]
        frame = _frame(rows, list(rows[0]))
        frame.attrs["notes"] = [note for table in comparison.tables for note in table.notes]
        return frame


def load_runs(*paths: Path | str) -> Runs:
    """The finished runs in results folders, run folders or result.json files; ``results`` where none is given.

    Raises:
        InputError: a path does not exist, or there is no finished run in any.
    """
    runs, skipped = find_runs(paths or (Path("results"),))
    if not runs:
        raise InputError("; ".join([f"no finished run in {', '.join(map(str, paths)) or 'results'}", *skipped]))
    return Runs(runs, skipped)


def _identity(run: Run) -> dict[str, Any]:
    return {name: run.result[name] for name in IDENTITY}


def _cells(run: Run) -> Iterator[dict[str, Any]]:
    for after, row in enumerate(run.result["accuracy_matrix"]):
        for task, accuracy in zip(run.result["tasks"], row, strict=True):
            if accuracy is not None:
                yield {**_identity(run), "after_task": after, "task": task, "accuracy": accuracy}


def _frame(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns))
