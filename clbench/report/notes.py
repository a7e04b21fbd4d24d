"""What a reader must know before comparing the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

from clbench.report.columns import LOST
from clbench.report.hardware import hardware_text
from clbench.report.rows import LONGEST_KEY, TableRow, canonical, group, labels, short_value
from clbench.text import shorten

MOST = 20  # lines on differing settings, values of one setting, sets of seeds


def table_notes(rows: Sequence[TableRow]) -> list[str]:
    """One line for each setting or set of seeds that differs between rows, each run that is apart and each lack."""
    differing = _differing_between(rows)
    notes = [f"{shorten(key, LONGEST_KEY)} differs: {_by_value(rows, key)}" for key in differing[:MOST]]
    if len(differing) > MOST:
        notes.append(f"{len(differing) - MOST} other settings differ, too: see the runs' config.json")
    if len({tuple(row.seeds) for row in rows}) > 1:
        notes.append(f"seeds differ: {_groups(group(rows, lambda row: _seeds(row.seeds)))}")
    sequences = {tuple(run.result["tasks"]) for row in rows if "tasks" not in row.settings for run in row.runs}
    if len(sequences) > 1:
        notes.append("the tasks or their order differ between seeds, so that a ± holds that difference too")
    for strategy, same in group((row for row in rows if "hash8=" in row.difference), lambda row: row.strategy).items():
        notes.append(f"{strategy}: {len(same)} runs repeat seeds with the same settings; each has its own row")
    if any(row.limited for row in rows):
        notes.append("limited: runs that saw only part of the data (--limit)")
    if unlearned := [text for row in rows if (text := _unlearned(row))]:
        notes.append(f"not learned, no better than with always the same answer: {'; '.join(unlearned)}")
    for row in rows:
        for column, cell in row.cells.items():
            if 0 < cell.count < len(row.runs):
                what = "mean over these" if cell.mean is not None else "no mean"
                notes.append(f"{column} of {row.label}: known for {cell.count} of {len(row.runs)} runs; {what}")
    notes += _hardware_notes(rows)
    lacking = [row for row in rows if "overhead" in row.cells and row.cells["overhead"].mean is None]
    if lacking:
        notes.append(f"no overhead without naive of the same seed, settings and hardware: {labels(lacking)}")
    notes += sorted({f"ability lost: {ability}" for row in rows if LOST in row.cells for ability in _abilities(row)})
    lacking = [row for row in rows if "intransigence" in row.cells and not row.cells["intransigence"].count]
    if lacking:
        notes.append(f"no intransigence without joint of the same seed, or an accuracy unmeasured: {labels(lacking)}")
    return notes


def _unlearned(row: TableRow) -> str:
    """How many tasks of the row's runs were not learned; empty for none."""
    count = sum(len(run.result.get("learning_warnings", [])) for run in row.runs)
    return f"{count} of {sum(len(run.result['tasks']) for run in row.runs)} tasks ({row.label})" if count else ""


def _abilities(row: TableRow) -> list[str]:
    """What the ability of each run is that has one, and in what it is measured."""
    found = [run.result["ability"] for run in row.runs if run.result.get("ability")]
    return [f"{each['name']}, in {each['unit']}, at the end against before training" for each in found]


def _hardware_notes(rows: Sequence[TableRow]) -> list[str]:
    """On what the runs of each row were measured, where that is not the same for all."""
    pairs = [(text, row) for row in rows for text in dict.fromkeys(map(hardware_text, row.runs))]
    places = {text: [row for _, row in members] for text, members in group(pairs, lambda pair: pair[0]).items()}
    if len(places) < 2:
        return []
    return [f"hardware differs, so seconds, memory and overheads compare within one kind only: {_groups(places)}"]


def _differing_between(rows: Sequence[TableRow]) -> list[str]:
    """Settings with different values in two rows that both have them (a strategy alone has its source's hash)."""
    keys = dict.fromkeys(key for row in rows for key in row.settings)
    return [key for key in keys if len({canonical(row.settings[key]) for row in rows if key in row.settings}) > 1]


def _by_value(rows: Sequence[TableRow], key: str) -> str:
    return _groups(group((row for row in rows if key in row.settings), lambda row: short_value(row.settings[key])))


def _groups(groups: dict[str, list[TableRow]]) -> str:
    shown = [f"{value} ({labels(same)})" for value, same in list(groups.items())[:MOST]]
    return "; ".join(shown) + (f"; and {len(groups) - MOST} more" if len(groups) > MOST else "")


def _seeds(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds[:MOST])) + (f" and {len(seeds) - MOST} more" if len(seeds) > MOST else "")
