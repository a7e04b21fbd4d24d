"""What the page shows: which columns, which runs' mistakes, and which of these runs had the same data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clbench.report.columns import BESIDE, DEFAULT_COLUMNS
from clbench.report.comparison import Comparison, compare
from clbench.report.derived import DERIVED
from clbench.report.page.data import shown_run
from clbench.report.rows import canonical, group
from clbench.results import METRICS, Run, RunFolder

COLUMNS = tuple(dict.fromkeys((*METRICS, *DERIVED, *BESIDE, *DEFAULT_COLUMNS, "wall_seconds", "peak_memory_bytes")))
BASELINE = "naive"


def compare_for_page(runs: Sequence[Run], baseline: str | None = None) -> Comparison:
    """The runs compared in all columns that any has a value of, by default from naive where it was run.

    Raises:
        InputError: there is no run, or ``baseline`` is in no table.
    """
    if baseline is None and any(run.result["strategy"] == BASELINE for run in runs):
        baseline = BASELINE
    comparison = compare(runs, COLUMNS, baseline=baseline)
    rows = [row for table in comparison.tables for row in table.rows]
    known = tuple(name for name in COLUMNS if any(row.cells[name].mean is not None for row in rows))
    return replace(comparison, columns=known)


def shown_runs(comparison: Comparison) -> list[Run]:
    """The runs whose mistakes the page shows: one a row."""
    return [shown_run(row) for table in comparison.tables for row in table.rows]


def with_the_same_data(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups that were evaluated on the same examples."""
    keys = ("scenario", "scenario_args", "setting", "seed", "limit", "eval_split", "plugin_files")

    def data(run: Run) -> str:
        hashes = RunFolder(run.folder).read_environment().get("data_sha256")
        return canonical([hashes, {key: run.config.get(key) for key in keys}])

    return list(group(runs, data).values())
