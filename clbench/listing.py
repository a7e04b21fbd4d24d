"""What the light commands print: list, describe, metrics, data. Imports no torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clbench import plugins
from clbench.errors import unknown
from clbench.integrations import SUMMARIES, is_foreign
from clbench.text import DASH, byte_unit, text_table


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
            rows += [{"name": name, "summary": summary} for name, summary in SUMMARIES.items()]
        width = max(len(row["name"]) for row in rows)
        return "\n".join(f"{row['name']:<{width}}  {row['summary']}" for row in rows)
    return text_table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])


def describe(name: str) -> str:
    """The docstring, arguments and settings of a scenario or strategy given by name or path."""
    description = plugins.describe(kind_of(name), name)
    doc = description.doc.strip()
    lines = [description.name, "", doc]
    if description.class_doc and description.class_doc.strip() != doc:
        lines += ["", description.class_doc.strip()]
    settings = description.attributes.get("settings")
    if isinstance(settings, tuple):
        lines += ["", f"settings: {', '.join(settings)}"]
    rows = [[p.name, p.annotation, p.default] for p in description.parameters if p.name not in ("seed", "setting")]
    if rows:
        lines += ["", text_table(["argument", "type", "default"], rows)]
    return "\n".join(lines)


def kind_of(name: str) -> str:
    """Whether ``name`` (or the file at that path) is a "scenario" or a "strategy"."""
    if name.endswith(".py") or "/" in name:
        return "scenario" if plugins.defines(plugins.find("plug-in", name), "tasks") else "strategy"
    if is_foreign(name):
        return "strategy"
    names = {kind: plugins.available(kind) for kind in plugins.KINDS}
    for kind, known in names.items():
        if name in known:
            return kind
    raise unknown("scenario or strategy", name, [*names["scenario"], *names["strategy"]])


def metrics(file: Path, format: str) -> str:
    """The metrics of the matrix in ``file``; ``format`` is "table" or "json"."""
    from clbench.matrix import read_matrix
    from clbench.metrics import compute_metrics
    from clbench.tables import metrics_table

    if format not in ("table", "json"):
        raise unknown("format", format, ("table", "json"))
    content = read_matrix(file)
    values = compute_metrics(content.matrix)
    if format == "json":
        return json.dumps(values, indent=2)
    return metrics_table(values) + (f"\n{content.note}" if content.note else "")


def data(action: str, names: Sequence[str]) -> int:
    """``pull`` fetches what ``names`` need (everything without names); ``list`` prints the sources and their rights."""
    from clbench import sources

    if action == "pull":
        sources.pull(names)
        return 0
    if action != "list":
        raise unknown("data command", action, ("pull", "list"))
    known = {row["name"]: row for row in sources.source_rows()}
    for name in names:
        if name not in known:
            raise unknown("source", name, known)
    rows = [known[name] for name in dict.fromkeys(names or known)]
    header = ["name", "kind", "size", "source", "cached"]
    table = [[r["name"], r["kind"], _size(r["size"]), r["origin"], "yes" if r["cached"] else "no"] for r in rows]
    print(text_table(header, table))
    for row in rows:
        print(f"\n{row['name']}: {row['about']}\n  rights: {row['rights']}")
    return 0


def _cell(value: object) -> str:
    return DASH if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _size(size: int) -> str:
    scale, unit = byte_unit(size)
    return f"{size / scale:.1f} {unit}"


def _plugins(what: str, _: Sequence[Path]) -> list[dict[str, Any]]:
    kind = "scenario" if what == "scenarios" else "strategy"
    return [{"name": name, "summary": plugins.describe(kind, name).summary} for name in sorted(plugins.available(kind))]


def _models(_what: str, _: Sequence[Path]) -> list[dict[str, Any]]:
    from clbench.model_names import BUILT_IN

    return [{"name": name, "summary": summary} for name, summary in BUILT_IN.items()]


def _runs(_what: str, paths: Sequence[Path]) -> list[dict[str, Any]]:
    from clbench.runs import find_runs

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
