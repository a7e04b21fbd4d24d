"""What a result.json must hold, and the check that its numbers follow from its own matrix."""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clbench.errors import InputError
from clbench.results.ability import check_ability
from clbench.results.matrix import check_matrix
from clbench.results.metrics import compute_metrics, forgetting_matrix

SCHEMA_VERSION = 1
ACCURACY = "accuracy"  # what a cell of the matrix is, where `measure` says nothing else
SETTINGS = ("task", "domain", "class")
COSTS = (
    "train_seconds",
    "fisher_seconds",
    "eval_seconds",
    "wall_seconds",
    "peak_memory_bytes",
    "stored_bytes",
    "trainable_parameters",
    "examples_seen",
)
# Of the format from the start; what was added later is worked out where a file does not have it.
FIRST_METRICS = (
    "average_accuracy",
    "learning_accuracy",
    "average_incremental_accuracy",
    "forgetting",
    "backward_transfer",
    "forward_transfer",
    "worst_retention",
)
TOLERANCE = 1e-9
LARGEST_COST = 1e18  # thirty thousand million years, an exabyte
LONGEST_NAME = 10_000  # characters
REMEDY = "restore the file or run it again with --overwrite"


def is_number(value: object) -> bool:
    """Whether ``value`` is an int or float that is finite as a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and 0 < len(value) == len(set(value))


def _is_hashes(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


REQUIRED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "schema_version": (
        lambda value: value == SCHEMA_VERSION,
        f"{SCHEMA_VERSION}, the one this version of clbench reads",
    ),
    "status": (lambda value: value == "complete", "'complete'"),
    "scenario": (_is_text, "a name"),
    "setting": (lambda value: value in SETTINGS, ", ".join(SETTINGS)),
    "strategy": (_is_text, "a strategy expression"),
    "model": (_is_text, "a name"),
    "seed": (lambda value: type(value) is int and abs(value) < 2**64, "a whole number of at most 64 bits"),
    "tasks": (_is_names, "a list of different names"),
    "limited": (lambda value: isinstance(value, bool), "true or false"),
    "accuracy_matrix": (lambda value: isinstance(value, list), "a list of T+1 rows of T numbers"),
    "forgetting_matrix": (lambda value: isinstance(value, list), "a list of T rows of T numbers"),
    "metrics": (lambda value: isinstance(value, dict), "an object of numbers"),
    "cost": (lambda value: isinstance(value, dict), "an object of numbers"),
}
READ_OF_CONFIG: dict[str, tuple[Callable[[Any], bool], str]] = {
    "hash8": (_is_text, "a text"),
    "eval_split": (lambda value: value in ("test", "dev"), "'test' or 'dev'"),
    "plugin_hashes": (_is_hashes, "an object of texts"),
    "scenario_args": (lambda value: isinstance(value, dict), "an object"),
    "device": (_is_text, "a text"),
}


def validate_result(result: object, path: Path | str) -> dict[str, Any]:
    """``result``, the parsed content of the result.json at ``path``, if it is whole and agrees with itself.

    Every key of the format must be there with its type, matrices with their shapes, and ``metrics`` and
    ``forgetting_matrix`` must be what the accuracy matrix gives, to 1e-9: an edited file is refused. The optional
    ``macro_f1_matrix`` and ``probe_matrix`` with their metrics are held to the same, ``ability`` has a value a row, the
    warnings are lines. Others are free.

    Raises:
        InputError: one line naming the file, what is wrong with it and what to do.
    """
    if not isinstance(result, dict):
        raise InputError(f"{path}: is not a JSON object, so no result of a run; {REMEDY}")
    for key, (is_valid, allowed) in REQUIRED.items():
        if key not in result:
            raise InputError(f"{path}: {key!r} is missing; {REMEDY}")
        if not is_valid(result[key]):
            raise InputError(f"{path}: {key} is {_short(result[key])}; allowed: {allowed}; {REMEDY}")
    _check_matrix(result, "accuracy_matrix", path)
    _check_metrics(result, "metrics", "accuracy_matrix", path)
    _check_forgetting(result, path)
    _check_cost(result["cost"], path)
    for key in ("forgetting_warnings", "learning_warnings"):
        lines = result.get(key, [])
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise InputError(f"{path}: {key} is {_short(lines)}; allowed: a list of lines; {REMEDY}")
    if not _is_text(result.get("measure", ACCURACY)):
        raise InputError(f"{path}: measure is {_short(result['measure'])}; allowed: a name; {REMEDY}")
    ran_on = result.get("hardware", [])
    if not isinstance(ran_on, list) or not all(isinstance(each, dict) for each in ran_on):
        raise InputError(f"{path}: hardware is {_short(ran_on)}; allowed: a list of objects; {REMEDY}")
    for matrix, metrics in (("macro_f1_matrix", "metrics_f1"), ("probe_matrix", "metrics_probe")):
        if result.get(matrix) is not None:
            _check_matrix(result, matrix, path)
            if result.get(metrics) is not None:
                _check_metrics(result, metrics, matrix, path)
    if result.get("ability") is not None:
        check_ability(result["ability"], len(result["accuracy_matrix"]), f"{path}: ability")
    return result


def validate_config(config: dict[str, Any], path: Path | str) -> dict[str, Any]:
    """``config``, the content of the config.json at ``path``, if what a comparison reads of it has its type.

    Raises:
        InputError: one line naming the file, what is wrong with it and what to do.
    """
    for key, (is_valid, allowed) in READ_OF_CONFIG.items():
        if key in config and not is_valid(config[key]):
            raise InputError(f"{path}: {key} is {_short(config[key])}; allowed: {allowed}; {REMEDY}")
    return config


def _check_matrix(result: Mapping[str, Any], key: str, path: Path | str) -> None:
    tasks = check_matrix(result[key], f"{path}: {key}")
    if tasks != len(result["tasks"]):
        raise InputError(f"{path}: {key} is of {tasks} tasks, but 'tasks' names {len(result['tasks'])}; {REMEDY}")


def _check_metrics(result: Mapping[str, Any], key: str, matrix_key: str, path: Path | str) -> None:
    stored = result[key]
    if not isinstance(stored, dict):
        raise InputError(f"{path}: {key} is {_short(stored)}; allowed: an object of numbers; {REMEDY}")
    for name, value in compute_metrics(result[matrix_key]).items():
        if name not in stored and name in FIRST_METRICS:
            raise InputError(f"{path}: {key}.{name} is missing; {REMEDY}")
        if not _same(stored.setdefault(name, value), value):
            raise InputError(
                f"{path}: {key}.{name} is {_short(stored[name])}, but {matrix_key} gives {value}; {REMEDY}"
            )


def _check_forgetting(result: Mapping[str, Any], path: Path | str) -> None:
    stored = result["forgetting_matrix"]
    right = forgetting_matrix(result["accuracy_matrix"])
    if len(stored) != len(right) or not all(isinstance(row, list) and len(row) == len(right) for row in stored):
        raise InputError(f"{path}: forgetting_matrix is not {len(right)} rows of {len(right)} numbers; {REMEDY}")
    for i, row in enumerate(right):
        for j, value in enumerate(row):
            if not _same(stored[i][j], value):
                cell = f"forgetting_matrix[{i}][{j}]"
                raise InputError(
                    f"{path}: {cell} is {_short(stored[i][j])}, but accuracy_matrix gives {value}; {REMEDY}"
                )


def _check_cost(cost: Mapping[str, Any], path: Path | str) -> None:
    for name in COSTS:
        if name not in cost:
            raise InputError(f"{path}: cost.{name} is missing; {REMEDY}")
        value = cost[name]
        if value is not None and not (is_number(value) and 0 <= value <= LARGEST_COST):
            allowed = f"a number from 0 to {LARGEST_COST:g}, null if unmeasured"
            raise InputError(f"{path}: cost.{name} is {_short(value)}; allowed: {allowed}; {REMEDY}")


def _same(stored: object, value: float | None) -> bool:
    if value is None or not is_number(stored):
        return stored is value
    return abs(float(stored) - value) <= TOLERANCE  # type: ignore[arg-type]


def _short(value: object) -> str:
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
