"""Which runs share a row of a table: those of one strategy with the same settings, one for each seed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from clbench.config import LATER, NOT_SCIENCE
from clbench.report.statistics import Difference
from clbench.results import ACCURACY, Run
from clbench.text import ELLIPSIS, natural, shorten

# What names a run, and what the seed draws from the data behind the scenario, or as new weights; the data themselves
# and a model that was loaded are settings.
IDENTITY = {"scenario", "setting", "model", "strategy", "seed", "hash8", "data_sha256", "start_sha256"}

MOST_DIFFERENCES = 8  # settings that a row's name shows; what more there are has a digest
LONGEST_KEY, LONGEST_VALUE = 60, 40
LEARNING_RATES = ("lr", "head_lr")
SOURCES = "plugin_hashes."  # with which the settings begin that differ between any two strategies

Settings = dict[str, Any]
Item = TypeVar("Item")
Key = TypeVar("Key")


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation (None below two values) over ``count`` runs; ``best`` of its column or not.

    ``untold`` are those that share too few seeds with the best to be told from it; ``difference`` is from the baseline,
    where there is one.
    """

    mean: float | None
    std: float | None
    count: int
    best: bool = False
    untold: bool = False
    difference: Difference | None = None


@dataclass(frozen=True)
class TableRow:
    """The runs of one strategy with the same settings, one a seed; ``difference`` sets it apart from its other rows."""

    strategy: str
    difference: str
    runs: tuple[Run, ...]
    settings: Settings
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def limited(self) -> bool:
        """Whether the runs saw only part of the data."""
        return any(run.result["limited"] for run in self.runs)

    @property
    def tuned(self) -> bool:
        """Whether the values are those that a tuning chose."""
        return any(run.config.get("tuned") for run in self.runs)

    @property
    def seeds(self) -> list[int]:
        """The seeds, sorted."""
        return sorted(run.result["seed"] for run in self.runs)

    @property
    def label(self) -> str:
        """Strategy, what sets the row apart from others of the strategy, and whether it is tuned or limited."""
        return (
            self.strategy
            + (f" [{self.difference}]" if self.difference else "")
            + (" (tuned)" if self.tuned else "")
            + (" (limited)" if self.limited else "")
        )


def group(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """The items by their key, both in the order in which they come."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def table_key(run: Run) -> tuple[str, str, str, str, str]:
    """What the rows of a table share: scenario, setting, model, split and measure."""
    scenario, setting, model = (str(run.result[key]) for key in ("scenario", "setting", "model"))
    return scenario, setting, model, str(run.config.get("eval_split", "test")), str(run.result.get("measure", ACCURACY))


def seed_draws_tasks(runs: Sequence[Run]) -> bool:
    """Whether tasks or their order differ by seed alone: one sequence a seed, equally many tasks, the same arguments.

    Where the scenario's code differs, too, each code must show that it is the seed which draws.
    """
    arguments = {canonical(run.config.get("scenario_args")) for run in runs}
    drawn = {(run.result["seed"], tuple(run.result["tasks"])) for run in runs}
    one_a_seed = len(drawn) == len({seed for seed, _ in drawn})
    same_length = len({len(tasks) for _, tasks in drawn}) == 1
    by_code = group(runs, lambda run: canonical(_scenario_hashes(run)))
    all_draw = all(len({tuple(run.result["tasks"]) for run in own}) > 1 for own in by_code.values())
    return len(arguments) == 1 and one_a_seed and all_draw and same_length


def _scenario_hashes(run: Run) -> dict[str, str]:
    hashes: dict[str, str] = run.config.get("plugin_hashes") or {}
    return {name: value for name, value in hashes.items() if name.startswith("scenario:")}


def split_rows(runs: list[Run], any_tasks: bool = False) -> list[TableRow]:
    """The rows of one strategy: one for each set of settings, and one for each run where a seed is there twice.

    The task sequence is one of the settings, unless ``any_tasks``. The rows stand by what sets them apart, limited and
    tuned ones last: never by folder names, whose hashes say nothing.
    """
    pairs = [(run, run_settings(run, any_tasks)) for run in runs]
    variants = list(group(pairs, lambda pair: canonical(pair[1])).values())
    differing = _telling_keys([members[0][1] for members in variants])
    rows = []
    for members in variants:
        settings = members[0][1]
        names = _difference(settings, [key for key in differing if key != "tuned"])  # which the label says
        seeds = [run.result["seed"] for run, _ in members]
        if len(set(seeds)) == len(seeds):
            rows.append(_row([run for run, _ in members], names, settings))
        else:
            identity = [[f"seed={run.result['seed']}", f"hash8={run.config.get('hash8')}"] for run, _ in members]
            rows += [_row([run], names + own, settings) for (run, _), own in zip(members, identity, strict=True)]
    return sorted(rows, key=lambda row: (row.limited, row.tuned, natural(row.difference)))


def _difference(settings: Settings, differing: Sequence[str]) -> list[str]:
    """What sets one set of settings apart from the strategy's others; of many keys the first, and a digest of all."""
    names = [
        f"{shorten(key, LONGEST_KEY)}={short_value(settings[key])}"
        if key in settings
        else f"no {shorten(key, LONGEST_KEY)}"
        for key in differing[:MOST_DIFFERENCES]
    ]
    if len(differing) <= MOST_DIFFERENCES and all(len(key) <= LONGEST_KEY for key in differing):
        return names
    digest = hashlib.sha256(canonical(settings).encode()).hexdigest()[:8]
    return [*names, f"{len(differing) - len(names)} more, settings {digest}"]


def _row(runs: list[Run], difference: list[str], settings: Settings) -> TableRow:
    return TableRow(runs[0].result["strategy"], ", ".join(difference), tuple(runs), settings)


def run_settings(run: Run, any_tasks: bool = False) -> Settings:
    """All but scenario, strategy, model and seed that could change a run's numbers; dots join nested keys."""
    scientific = {
        key: value for key, value in {**LATER, **run.config}.items() if key not in IDENTITY and key not in NOT_SCIENCE
    }
    return _flatten(scientific) if any_tasks else {**_flatten(scientific), "tasks": run.result["tasks"]}


def settings_but_sources(run: Run, any_tasks: bool = False) -> Settings:
    """The settings that runs of different strategies can share; tuning gives each its own learning rates."""
    own = LEARNING_RATES if run.config.get("tuned") else ()
    settings = run_settings(run, any_tasks).items()
    return {key: value for key, value in settings if not key.startswith(SOURCES) and key not in own}


def _flatten(values: dict[str, Any], prefix: str = "") -> Settings:
    flat: Settings = {}
    for key, value in values.items():
        flat.update(_flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def _differing_keys(variants: list[Settings]) -> list[str]:
    keys = dict.fromkeys(key for settings in variants for key in settings)
    return [key for key in keys if len({canonical([key in each, each.get(key)]) for each in variants}) > 1]


def _telling_keys(variants: list[Settings]) -> list[str]:
    """The differing settings, without hashes and what one version does not know where the others tell all apart."""
    differing = _differing_keys(variants)
    known = [key for key in differing if not _is_hash(key) and all(key in settings for settings in variants)]
    apart = {canonical([settings[key] for key in known]) for settings in variants}
    return known if len(apart) == len(variants) else differing


def _is_hash(key: str) -> bool:
    return key.startswith("plugin_hashes.") or key.endswith("_sha256")


def canonical(value: object) -> str:
    """JSON with sorted keys: equal for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


def short_value(value: object) -> str:
    """A setting's value for a label: JSON, text without quotes, cut to 40 characters, a SHA-256 to 8."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if re.fullmatch("[0-9a-f]{64}", text):
        return text[:8]
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}{ELLIPSIS}"


def labels(rows: Sequence[TableRow]) -> str:
    """The first three rows' labels, and how many more there are."""
    return ", ".join(row.label for row in rows[:3]) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")
