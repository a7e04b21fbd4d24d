"""``clbench list``: the scenarios, strategies, models or runs. Imports no torch."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clbench import plugins
from clbench.commands.terminal import terminal_width
from clbench.errors import InputError, unknown
from clbench.presets import available_presets, read_preset
from clbench.sources import BUILT_IN, OTHER_MODELS
from clbench.text import DASH, clean, text_table

OWN_DATA = "Your own data: .csv, .tsv, .jsonl, .json or .parquet; `clbench describe FILE` tells what a run would do."
PRESETS = "Also presets: sequences that papers use, whose data lie on the hub."
NARROWEST = 30  # characters of a sentence in a line; a narrower terminal breaks lines itself


def list_rows(what: str, paths: Sequence[Path], *, as_json: bool, all: bool = False) -> str:
    """The scenarios, strategies, models or runs, as a table or as JSON.

    Args:
        what: "scenarios", "strategies", "models" or "runs".
        paths: where runs are looked for.
        as_json: a JSON array of objects instead of a table.
        all: of scenarios, also the presets: sequences of data that lie on the hub.

    Raises:
        InputError: there is no such list.
    """
    makers = {"scenarios": _plugins, "strategies": _plugins, "models": _models, "runs": _runs}
    if what not in makers:
        raise unknown("list", what, makers)
    if all and what != "scenarios":
        raise InputError(f"--all is for `list scenarios`; `list {what}` lists all {what}")
    rows = makers[what](what, paths) + ([_preset(path) for path in available_presets().values()] if all else [])
    if as_json:
        return json.dumps(rows, indent=2, ensure_ascii=False)
    if not rows:
        return f"no {what}"
    if what != "runs":  # a sentence reads from the left
        if what == "strategies":
            rows += [{"name": name, "summary": summary} for name, summary in plugins.foreign_summaries().items()]
        if what == "models":
            rows += [{"name": "FOLDER|ID|timm:NAME", "summary": f"Other models: {OTHER_MODELS}."}]
        if what == "scenarios":
            rows = [{**row, "summary": _told(row)} for row in rows]
            rows += [] if all else [{"name": "--all", "summary": PRESETS}]
            rows += [{"name": "FILE|FOLDER|hub:ID", "summary": OWN_DATA}]
        return "\n".join(_sentences([(clean(row["name"]), clean(row["summary"])) for row in rows], terminal_width()))
    return _run_table(rows, terminal_width())


def _sentences(pairs: Sequence[tuple[str, str]], width: int | None) -> list[str]:
    """Names with a sentence each beside them, which goes on below itself where the terminal ends."""
    longest = max(len(name) for name, _ in pairs)
    indent = " " * (longest + 2)
    lines = [f"{name:<{longest}}  {sentence}" for name, sentence in pairs]
    if width is None or width < len(indent) + NARROWEST:
        return lines
    return [textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False) for line in lines]


def _run_table(rows: list[dict[str, Any]], width: int | None) -> str:
    """A line a run; where they do not fit, without the strategy, which is in the folder's name, too."""
    table = _table(rows)
    if width is None or max(map(len, table.splitlines())) <= width:
        return table
    short = _table([{key: value for key, value in row.items() if key != "strategy"} for row in rows])
    return "\n".join([short, textwrap.fill("left out for want of room: strategy; --json gives all", width)])


def _table(rows: list[dict[str, Any]]) -> str:
    header = [name.replace("_", "\n") for name in rows[0]]
    return text_table(header, [[_cell(value) for value in row.values()] for row in rows])


def _cell(value: object) -> str:
    return DASH if value is None else f"{value:.3f}" if isinstance(value, float) else clean(str(value))


def _plugins(what: str, _: Sequence[Path]) -> list[dict[str, Any]]:
    kind = "scenario" if what == "scenarios" else "strategy"
    return [{"name": name, "summary": plugins.describe(kind, name).summary} for name in sorted(plugins.available(kind))]


def _preset(path: Path) -> dict[str, Any]:
    preset = read_preset(path)
    orders = {name: list(tasks) for name, tasks in preset.orders.items()}
    told = {"name": preset.name, "summary": preset.title, "kind": preset.kind, "hub": preset.hub_ids}
    return {**told, "orders": orders, "papers": list(preset.papers)}


def _told(row: Mapping[str, Any]) -> str:
    """A scenario's sentence; of a preset also where its data are and its orders, and who uses it."""
    if "hub" not in row:
        return str(row["summary"])
    data = ", ".join(row["hub"]) or "files of your own (root=FOLDER)"
    orders = f" Orders: {', '.join(row['orders'])}." if row["orders"] else ""
    return f"{row['summary']}. Preset ({row['kind']}): {data}.{orders} {'; '.join(row['papers'])}."


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
