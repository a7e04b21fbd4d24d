"""What the fuzzer feeds to parsers: random values, strategy expressions, options, YAML and CSV."""

from __future__ import annotations

from hypothesis import strategies as st

from clbench.config import RunConfig
from clbench.plugins import Component, canonical

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
