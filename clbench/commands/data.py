"""``clbench data``: fetches built-in data and models beforehand, or lists them with their rights. Imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from clbench import plugins, sources
from clbench.config import RunConfig
from clbench.errors import unknown
from clbench.presets import available_presets, read_preset
from clbench.sources import SOURCES
from clbench.tasks import hub_splits, read_source
from clbench.text import size_text, text_table


def pull(names: Sequence[str]) -> None:
    """Fetch what ``names`` need, everything if there are none.

    Args:
        names: scenarios (their data and their default model), a person's data, sources or models.
    """
    sources.pull(_needed(names) if names else SOURCES)


def table(names: Sequence[str]) -> str:
    """The sources ``names``, all if there are none, with their rights."""
    known = {row["name"]: row for row in sources.source_rows()}
    for name in names:
        if name not in known:
            raise unknown("source", name, known)
    rows = [known[name] for name in dict.fromkeys(names or known)]
    header = ["name", "kind", "size", "source", "cached"]
    cells = [[r["name"], r["kind"], size_text(r["size"]), r["origin"], "yes" if r["cached"] else "no"] for r in rows]
    rights = [f"\n{row['name']}: {row['about']}\n  rights: {row['rights']}" for row in rows]
    return "\n".join([text_table(header, cells), *rights])


def _needed(names: Iterable[str]) -> list[str]:
    wanted: dict[str, None] = {}
    for name in names:
        if name in SOURCES:
            wanted[name] = None
        elif plugins.is_preset("scenario", name):
            preset = read_preset(plugins.find("scenario", name))
            for hub in preset.hub_ids:
                hub_splits(f"hub:{hub}", revision=preset.revision_of(hub))
            model = preset.defaults.get("model", RunConfig.model_fields["model"].default)
            wanted.update({model: None} if model in SOURCES else {})
        elif plugins.is_own_data("scenario", name):
            read_source(name)  # a hub id is fetched, and what cannot be read is told here
            wanted[RunConfig.model_fields["model"].default] = None
        elif name in plugins.available("scenario") or name.endswith(".py"):
            attributes = plugins.describe("scenario", name).attributes  # read without importing its file
            model = attributes.get("defaults", {}).get("model")
            needs = [*attributes.get("sources", ()), *([model] if model in SOURCES else [])]
            wanted.update(dict.fromkeys(needs))
            if not needs:
                print(f"{name}: nothing to fetch", file=sys.stderr)
        else:
            raise unknown(
                "scenario, source or model", name, [*plugins.available("scenario"), *available_presets(), *SOURCES]
            )
    return list(wanted)
