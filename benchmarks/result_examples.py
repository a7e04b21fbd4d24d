"""What the fuzzer feeds to readers of results: valid results and configurations, changed or damaged."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from benchmarks.examples import json_values
from clbench.config import identity
from clbench.results import COSTS, compute_metrics, forgetting_matrix


@st.composite
def matrices(draw: st.DrawFn) -> list[list[float | None]]:
    """Accuracy matrices of one to four tasks."""
    tasks = draw(st.integers(1, 4))
    cell = st.none() | st.floats(0, 1) | st.sampled_from([0.0, 1.0])
    return draw(st.lists(st.lists(cell, min_size=tasks, max_size=tasks), min_size=tasks + 1, max_size=tasks + 1))


def make_result(matrix: list[list[float | None]], name: str = "toy") -> dict[str, Any]:
    """A valid result with this accuracy matrix."""
    return {
        "schema_version": 1,
        "status": "complete",
        "scenario": name,
        "setting": "task",
        "strategy": "naive",
        "model": "tiny",
        "seed": 0,
        "tasks": [f"{name} {number}" for number in range(len(matrix) - 1)],
        "limited": False,
        "accuracy_matrix": matrix,
        "forgetting_matrix": forgetting_matrix(matrix),
        "metrics": compute_metrics(matrix),
        "macro_f1_matrix": matrix,
        "metrics_f1": compute_metrics(matrix),
        "forgetting_warnings": [],
        "cost": dict.fromkeys(COSTS, 1),
    }


def sealed(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the hash8 of its settings, where it has settings that can be hashed."""
    try:
        return {**config, "hash8": identity(config)[:8]}
    except ValueError:  # no JSON number
        return config


CONFIG = sealed(
    {
        "strategy": "naive",
        "seed": 0,
        "device": "cpu",
        "eval_split": "test",
        "scenario_args": {"order": 1},
        "plugin_hashes": {"a": "b"},
    }
)
DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]
extremes: list[Any] = [1e200, 1.7e308, 10**400, 5e-324, DEEP, {f"key{i}": i for i in range(200)}]
replacements = json_values | st.sampled_from(extremes).map(copy.deepcopy)  # copied, as a later mutation may change it


@st.composite
def mutated(draw: st.DrawFn, originals: st.SearchStrategy[Any]) -> Any:
    """A JSON value with up to three of its parts replaced, taken out or added."""
    value = copy.deepcopy(draw(originals))
    for _ in range(draw(st.integers(0, 3))):
        place: Any = value
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if not isinstance(place[key], dict | list) or draw(st.booleans()):
                action = draw(st.sampled_from(["replace", "remove", "add"]))
                if action == "remove":
                    del place[key]
                elif action == "replace":
                    place[key] = draw(replacements)
                elif isinstance(place, list):
                    place.insert(key, draw(replacements))
                else:
                    place[draw(st.text(max_size=4))] = draw(replacements)
                break
            place = place[key]
    return value


def to_bytes(value: Any) -> bytes:
    """JSON, with NaN and lone surrogates as Python writes them."""
    return json.dumps(value).encode()


@st.composite
def damaged(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Bytes cut, with a byte changed, or with a piece put in."""
    content = bytearray(draw(originals))
    place = draw(st.integers(0, len(content)))
    action = draw(st.sampled_from(["cut", "change", "insert"]))
    if action == "cut":
        del content[place:]
    elif action == "change" and place < len(content):
        content[place] = draw(st.integers(0, 255))
    else:
        content[place:place] = draw(st.binary(max_size=4))
    return bytes(content)


good_results = st.builds(make_result, matrices(), st.text(min_size=1, max_size=6))
result_bytes = st.one_of(
    st.binary(max_size=40),
    mutated(good_results).map(to_bytes),
    damaged(good_results.map(to_bytes)),
    json_values.map(to_bytes),
)
config_bytes = st.one_of(
    st.just(to_bytes(CONFIG)),
    mutated(st.just(CONFIG)).map(sealed).map(to_bytes),
    mutated(st.just(CONFIG)).map(to_bytes),
    json_values.map(to_bytes),
    st.binary(max_size=40),
)
