"""``clbench metrics``: the metrics of an accuracy matrix, yours or someone else's. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path

from clbench.errors import unknown
from clbench.report import metrics_table
from clbench.results import compute_metrics, read_matrix


def text(file: Path, format: str) -> str:
    """The metrics of the matrix in ``file``; ``format`` is "table" or "json"."""
    if format not in ("table", "json"):
        raise unknown("format", format, ("table", "json"))
    content = read_matrix(file)
    values = compute_metrics(content.matrix)
    if format == "json":
        return json.dumps(values, indent=2)
    return metrics_table(values) + (f"\n{content.note}" if content.note else "")
