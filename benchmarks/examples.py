"""What the fuzzer feeds to parsers: random values, strategy expressions, options, YAML and CSV."""

from __future__ import annotations

import csv
import io

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


TABLE_COLUMNS = ("task", "text", "label")
cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6) | st.sampled_from(
    ["phone", "a, b", ' "well"', 'say ""', "line\nbreak", "\r", ";", "  ", "=1+1", "\ufeff", "a,b,c\nd,e,f"]
)
table_rows = st.tuples(cells, cells, cells)
tables = st.lists(table_rows, min_size=1, max_size=4)
table_pieces = st.sampled_from(
    ["task", "text", "label", ",", ", ", ";", "\t", '"', '""', "\n", "\r\n", "\r", " ", "a", "b", "\0", "\ufeff", "é"]
)


def table_bytes(rows: list[tuple[str, str, str]]) -> bytes:
    """The rows as a CSV file with a header."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([TABLE_COLUMNS, *rows])
    return text.getvalue().encode()


RUN = ("run", "--dry-run", "--scenario", "toy", "--model", "tiny", "--device", "cpu")
SMALL_TOY = ("--scenario-arg", "train=12", "--scenario-arg", "dev=3", "--scenario-arg", "test=6")
values = st.sampled_from(
    ["", "0", "-1", "5", "0-4", "4-0", "0,2,5", "1e999", "nan", "inf", "10" * 200, "x" * 5000, "-" * 50_000, "cuda:٣",
     "cuda:99999999999999999999", "cuda:-1", "~nobody", ".", "\0", "\ud800", "\x1b[31m", "a\nb",
     "train=-1", "train=10**9", "train", "=", "naive", "ewc(lambda=5)", "ewc+ewc", "naiv", "[a, b]", "toy",
     "minilm.py", "0.5", "True"]
) | st.text(max_size=8)  # fmt: skip
option_names = st.sampled_from(
    ["--strategy", "--seed", "--epochs", "--lr", "--head-lr", "--batch-size", "--max-length", "--scenario-arg",
     "--limit", "--evaluate", "--device", "--precision", "--config", "--output-dir", "--checkpoint-every", "--setting",
     "--model", "--scenario", "--epoch", "-x", "--"]
)  # fmt: skip
good_options_given = st.sampled_from(
    [
        ("--seed", "0,2"),
        ("--epochs", "2"),
        ("--strategy", "naive"),
        ("--strategy", "ewc(ewc_lambda=5)"),
        ("--lr", "0.01"),
    ]
)
some_options = st.lists(good_options_given | st.tuples(option_names, values), max_size=3).map(
    lambda pairs: tuple(word for pair in pairs for word in pair)
)
other_commands = st.tuples(
    st.sampled_from(["compare", "plot", "list", "describe", "metrics", "data", "resume", "rn", ""]),
    values,
    values,
)
good_commands = st.sampled_from(
    [("list", "strategies"), ("describe", "ewc"), ("list", "models", "--json"), ("--version",)]
)
commands = st.one_of(some_options.map(lambda words: (*RUN, *SMALL_TOY, *words)), other_commands, good_commands).map(
    list
)
