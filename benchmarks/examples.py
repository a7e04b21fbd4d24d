"""What the fuzzer feeds: texts, options, files and results, random, hostile or slightly wrong."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from clbench.config import RunConfig
from clbench.expression import Component, canonical
from clbench.metrics import compute_metrics, forgetting_matrix
from clbench.schema import COSTS

# Numbers and texts at the edges of what formats and floats can hold.
EDGES = [0, 1, -1, 2**63, 10**400, 1e308, -0.0, float("inf"), float("nan"), "", "\ud800", "a\nb", "../x", "\x1b"]
UNPRINTABLE = 16**4000  # an int that Python refuses to spell in decimal
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(EDGES), st.floats(0, 1)
)
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


names = st.text("abz_09.-/", min_size=1, max_size=6)
keys = st.sampled_from(["a", "memory_size", "x1", "é"])
literals = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text("ab'\"+\\", max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
components = st.builds(Component, names, st.dictionaries(keys, literals, max_size=3))
spellings = st.lists(components, min_size=1, max_size=3).map(lambda found: canonical(tuple(found)))
pieces = st.sampled_from(
    [
        "a",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "\\",
        "+",
        "*",
        "**",
        ",",
        "=",
        ":",
        "-",
        "1",
        "1e999",
        "0x",
        "#",
        " ",
        "x=",
        "__import__('os')",
        "lambda:0",
        "if",
        "\n",
        "\0",
        "é",
        "\u202e",
        "\ud800",
    ]
)


fields = st.sampled_from([*RunConfig.model_fields, "epoch", ""])
options = st.dictionaries(fields, json_values, max_size=4)
good_options = st.fixed_dictionaries(
    {"scenario": st.just("toy"), "strategy": st.just("ewc")},
    optional={
        "seed": st.integers(0, 5),
        "lr": st.floats(),
        "scenario_args": json_values,
        "output_dir": st.text(max_size=5),
    },
)
yaml_pieces = st.sampled_from(
    [
        "seed",
        "lr",
        "scenario",
        "scenario_args",
        ": ",
        "- ",
        "\n",
        "  ",
        "&a ",
        "*a",
        "[",
        "]",
        "{",
        "}",
        "!!int ",
        "!!float ",
        "!!bool ",
        "!!timestamp ",
        "!!set ",
        "!!binary ",
        "!!omap ",
        "!!python/object/apply:os.system ",
        "? ",
        "<<",
        "=",
        "'",
        '"',
        "\\U",
        "0x",
        "0x" + "f" * 4000,
        "1",
        "12:30",
        "2001-99-99",
        "2001-01-01",
        ".nan",
        ".inf",
        "~",
        "---",
        "%YAML 9.9",
        "\t",
        "#",
        "|",
        ">",
        "\0",
    ]
)


numbers = st.floats(0, 1) | st.floats() | st.sampled_from(["", "0.5", "50", "1e999", "-0", "0x1", "nan", '"', "a", "١"])
csv_text = st.lists(st.lists(numbers.map(str), max_size=4).map(",".join), max_size=5).map("\n".join)


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


CONFIG = {
    "scenario": "toy",
    "strategy": "naive",
    "seed": 0,
    "hash8": "0123abcd",
    "device": "cpu",
    "plugin_hashes": {"a": "b"},
}


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
                    place[key] = draw(json_values)
                elif isinstance(place, list):
                    place.insert(key, draw(json_values))
                else:
                    place[draw(st.text(max_size=4))] = draw(json_values)
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
    st.just(to_bytes(CONFIG)), mutated(st.just(CONFIG)).map(to_bytes), json_values.map(to_bytes), st.binary(max_size=40)
)
