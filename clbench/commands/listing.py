"""``clbench list``: the scenarios, strategies, models or runs. Imports no torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clbench import plugins
from clbench.errors import unknown
from clbench.sources import BUILT_IN
from clbench.text import DASH, clean, text_table


def list_rows(what: str, paths: Sequence[Path], *, as_json: bool) -> str:
    """The scenarios, strategies, models or runs, as a table or as JSON.

    Args:
        what: "scenarios", "strategies", "models" or "runs".
        paths: where runs are looked for.
        as_json: a JSON array of objects instead of a table.
    """
    makers = {"scenarios": _plugins, "strategies": _plugins, "models": _models, "runs": _runs}
    if what not in makers:
        raise unknown("list", what, makers)
    rows = makers[what](what, paths)
    if as_json:
        return json.dumps(rows, indent=2, ensure_ascii=False)
    if not rows:
        return f"no {what}"
    if what != "runs":  # a sentence reads from the left
        if what == "strategies":
            rows += [{"name": name, "summary": summary} for name, summary in plugins.foreign_summaries().items()]
        width = max(len(row["name"]) for row in rows)
        return "\n".join(f"{clean(row['name']):<{width}}  {clean(row['summary'])}" for row in rows)
    return text_table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])


def _cell(value: object) -> str:
    return DASH if value is None else f"{value:.3f}" if isinstance(value, float) else clean(str(value))


def _plugins(what: str, _: Sequence[Path]) -> list[dict[str, Any]]:
    kind = "scenario" if what == "scenarios" else "strategy"
    return [{"name": name, "summary": plugins.describe(kind, name).summary} for name in sorted(plugins.available(kind))]


def _models(_what: str, _: Sequence[Path]) -> list[dict[str, Any]]:
    return [{"name": name, "summary": summary} for name, summary in BUILT_IN.items()]


def _runs(_what: str, paths: Sequence[Path]) -> list[dict[str, Any]]:
    from clbench.results import find_runs  # not for what lists plug-ins: it takes pydantic

    runs, skipped = find_runs(paths)
    for line in skipped:
        print(line, file=sys.stderr)
    return [
        {
            "folder": str(run.folder),
            "strategy": run.result["strategy"],
            "seed": run.result["seed"],
            "average_accuracy": run.result["metrics"]["average_accuracy"],
        }
        for run in runs
    ]
