"""Random input for all that reads what a person or another program wrote: a value or one line, never a traceback.

Each target turns an example of its strategy into a value of ours or an ``InputError``; a value must survive what is
done with it next (hashed, written and read back, put into a table).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st

from benchmarks import examples, fuzz_checks, result_examples


@dataclass(frozen=True)
class Target:
    """``check`` says whether an example of ``examples`` was taken (True) or refused with an InputError (False)."""

    examples: st.SearchStrategy[Any]
    check: Callable[[Any, Path], bool]


@dataclass(frozen=True)
class Outcome:
    """How many examples a target saw and took; the others were refused in one line."""

    examples: int
    taken: int


def run_target(target: Target, count: int) -> Outcome:
    """Try ``count`` examples, the same ones every time; the first that breaks the rule is shrunk and raised."""
    taken: list[bool] = []

    with tempfile.TemporaryDirectory() as folder:

        @settings(
            max_examples=count,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(target.examples)
        def check(example: Any) -> None:
            taken.append(target.check(example, Path(folder)))

        check()
    return Outcome(len(taken), sum(taken))


TARGETS = {
    "strategy expression": Target(
        st.text() | st.lists(examples.pieces).map("".join) | examples.spellings, fuzz_checks.check_expression
    ),
    "strategy expression, damaged": Target(
        result_examples.damaged(examples.spellings.map(str.encode)).map(
            lambda content: content.decode(errors="replace")
        ),
        fuzz_checks.check_expression,
    ),
    "strategy expression, round trip": Target(
        st.lists(examples.components, min_size=1, max_size=3), fuzz_checks.check_round_trip
    ),
    "argument value": Target(
        st.text() | st.lists(examples.pieces).map("".join) | examples.literals.map(repr), fuzz_checks.check_literal
    ),
    "configuration": Target(examples.options | examples.good_options, fuzz_checks.check_config),
    "configuration file": Target(
        st.binary()
        | st.lists(examples.yaml_pieces).map("".join).map(str.encode)
        | (examples.options | examples.json_values).map(result_examples.to_bytes),
        fuzz_checks.check_config_file,
    ),
    "matrix file": Target(
        st.tuples(
            st.sampled_from(["matrix.csv", "result.json"]),
            st.binary()
            | examples.csv_text.map(str.encode)
            | result_examples.mutated(result_examples.good_results).map(result_examples.to_bytes)
            | examples.json_values.map(result_examples.to_bytes),
        ),
        fuzz_checks.check_matrix_file,
    ),
    "table of texts": Target(
        st.binary(max_size=60)
        | st.lists(examples.table_pieces).map("".join).map(str.encode)
        | result_examples.damaged(examples.tables.map(examples.table_bytes)),
        fuzz_checks.check_table,
    ),
    "table of texts, round trip": Target(st.lists(examples.table_rows, max_size=4), fuzz_checks.check_table_round_trip),
    "command line": Target(examples.commands, fuzz_checks.check_command),
    "run folder": Target(
        st.tuples(result_examples.result_bytes, result_examples.config_bytes), fuzz_checks.check_run_folder
    ),
}
