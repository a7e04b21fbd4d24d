"""tuned.yaml: for each strategy the values that ``clbench tune`` chose on dev, and all that it tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clbench.config import read_mapping
from clbench.errors import InputError, unknown
from clbench.files import write_atomic
from clbench.results.schema import is_number

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
STATES = (COMPLETE, PRUNED, FAILED)
REMEDY = "give a file that `clbench tune` wrote"


@dataclass(frozen=True)
class Tried:
    """A trial: its values, how it ended, and its score, which is that of the last task it learned if it was pruned."""

    values: Mapping[str, Any]
    state: str
    score: float | None


@dataclass(frozen=True)
class Tuned:
    """What tuning one strategy came to.

    Attributes:
        values: the best ones: ``lr``, ``head_lr`` and arguments as STRATEGY.ARGUMENT.
        dev_score: average accuracy on dev after the last of ``tasks``, the mean over ``seeds``.
        trials: how many.
        seeds: of each trial.
        tasks: those that were used, of ``of_tasks``.
        spaces: of each value: low, high and log, or choices.
        place: scenario, setting and model.
        versions: of clbench and of what it computed with.
        tried: every trial, in order.
    """

    values: Mapping[str, Any]
    dev_score: float
    trials: int
    seeds: list[int]
    tasks: list[str]
    of_tasks: int
    spaces: Mapping[str, Mapping[str, Any]]
    place: Mapping[str, str]
    versions: Mapping[str, str]
    tried: list[Tried]


def write_tuned(path: Path, entries: Mapping[str, Tuned]) -> None:
    """Write tuned.yaml, an entry a strategy.

    Raises:
        InputError: it cannot be written.
    """
    import yaml

    content = {name: asdict(entry) for name, entry in entries.items()}
    text = "# The best of each strategy's trials on dev; use it with: clbench run --tuned FILE\n"
    text += yaml.safe_dump(content, sort_keys=False, width=120, default_flow_style=None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be written: {error.strerror}; choose another file with -o") from error


def read_tuned(path: Path) -> dict[str, Tuned]:
    """The entries of a tuned.yaml by their strategy.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    content = read_mapping(path, "tuned file", "strategies")
    if not content:
        raise InputError(f"tuned file {str(path)!r} is empty; {REMEDY}")
    return {name: _entry(entry, f"tuned file {str(path)!r}, {name!r}") for name, entry in content.items()}


def find_tuned(entries: Mapping[str, Tuned], strategy: str, path: Path) -> Tuned:
    """The entry of a strategy; InputError with the nearest where there is none."""
    if strategy not in entries:
        raise unknown(f"strategy in {str(path)!r}:", strategy, entries)
    return entries[strategy]


def _entry(entry: object, where: str) -> Tuned:
    fields = Tuned.__dataclass_fields__
    if not isinstance(entry, dict) or set(entry) != set(fields):
        raise InputError(f"{where} is no entry of {', '.join(fields)}; {REMEDY}")
    for key in ("values", "spaces", "place", "versions"):
        if not isinstance(entry[key], dict) or not all(isinstance(name, str) for name in entry[key]):
            raise InputError(f"{where}: {key} is no mapping; {REMEDY}")
    for key in ("seeds", "tasks", "tried"):
        if not isinstance(entry[key], list):
            raise InputError(f"{where}: {key} is no list; {REMEDY}")
    if not all(isinstance(space, dict) for space in entry["spaces"].values()):
        raise InputError(f"{where}: a space is no mapping; {REMEDY}")
    if not is_number(entry["dev_score"]):
        raise InputError(f"{where}: dev_score is no number; {REMEDY}")
    return Tuned(**{**entry, "tried": [_tried(each, where) for each in entry["tried"]]})


def _tried(trial: object, where: str) -> Tried:
    whole = isinstance(trial, dict) and set(trial) == set(Tried.__dataclass_fields__)
    if not whole or not isinstance(trial["values"], dict) or trial["state"] not in STATES:  # type: ignore[index]
        raise InputError(f"{where}: a trial has no values, state ({', '.join(STATES)}) and score; {REMEDY}")
    found = Tried(**trial)  # type: ignore[arg-type]
    if found.score is not None and not is_number(found.score):
        raise InputError(f"{where}: the score of a trial is no number; {REMEDY}")
    return found
