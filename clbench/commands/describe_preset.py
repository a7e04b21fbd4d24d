"""``clbench describe PRESET``: what data its tasks are, in which orders, who uses it. Imports no torch."""

from __future__ import annotations

import textwrap
from pathlib import Path

from clbench.presets import Preset, Source, read_preset
from clbench.text import text_table

WIDTH = 110


def preset_page(path: Path) -> list[str]:
    """The page of the preset in a file, line by line.

    Raises:
        InputError: the file is no preset.
    """
    preset = read_preset(path)
    lines = [f"{preset.name} (scenario, preset)", "", f"{preset.title}.", *(f"- {paper}" for paper in preset.papers)]
    lines += ["", *textwrap.wrap(preset.note, WIDTH)] if preset.note else []
    lines += ["", f"settings, the default first: {', '.join(preset.settings)}", f"kind of task: {preset.kind}"]
    if preset.defaults:
        told = ", ".join(f"{key}={value}" for key, value in preset.defaults.items())
        lines.append(f"training defaults: {told}")
    lines += _facts(preset)
    header = ["task", "data", "columns", "splits"]
    rows = [[name or "all", *_cells(source)] for name, source in preset.tasks.items()]
    lines += ["", *text_table(header, rows).split("\n")]
    lines += [""] if preset.orders else []
    for name, order in preset.orders.items():
        lines += textwrap.wrap(f"order={name}: {', '.join(order)}", WIDTH, subsequent_indent="    ")
    arguments = ["order", "root=FOLDER (OWNER/NAME as on the hub, read instead of it)", "train, dev, test (at most)"]
    arguments += ["labels_per_task"] if preset.labels_per_task else []
    return [*lines, "", *textwrap.wrap(f"arguments (--scenario-arg K=V): {', '.join(arguments)}", WIDTH)]


def _facts(preset: Preset) -> list[str]:
    facts = []
    if count := preset.labels_per_task:
        what = "types of entities" if preset.kind == "token" else "labels"
        facts.append(f"labels_per_task={count}: so many {what} make a task, in the data's order or by order=seed")
    limits = [f"{most} of {split} a label" for split, most in preset.per_label.items()]
    limits += [f"{most} of {split}" for split, most in preset.most.items()]
    facts += [f"at most: {', '.join(limits)}"] if limits else []
    shares = {"dev": preset.dev, "test": preset.test}
    drawn = [f"{share:.0%} for {split}" for split, share in shares.items() if _lacks(preset, split)]
    return [*facts, f"drawn from train: {', '.join(drawn)}"] if drawn else facts


def _lacks(preset: Preset, split: str) -> bool:
    return any(split not in source.splits for source in preset.tasks.values())


def _cells(source: Source) -> list[str]:
    columns = [f"{name}: {' + '.join(own)}" for name, own in source.columns.items()]
    splits = [own if own == split else f"{split}: {own}" for split, own in source.splits.items()]
    if source.files:
        splits = [f"{split}: {file}" for split, file in source.files.items()]
    data = source.hub + (f" ({source.revision})" if source.revision else "") or "files in root"
    return [data, ", ".join(columns), ", ".join(splits)]
