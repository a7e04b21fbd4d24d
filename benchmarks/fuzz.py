"""Random input for all that reads what a person or another program wrote: a value or one line, never a traceback.

Each target turns an example of its strategy into a value of ours or an ``InputError``; a value must survive what is
done with it next (hashed, written and read back, put into a table).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st

from benchmarks import examples, result_examples
from clbench.config import make_config, read_config_file
from clbench.errors import InputError
from clbench.plugins import Component, canonical, literal, parse_expression
from clbench.report import FORMATS, compare, render, result_summary
from clbench.results import Run, RunFolder, compute_metrics, find_runs, read_matrix
from clbench.text import clean


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


def refused(call: Callable[[], Any]) -> bool:
    """Whether ``call`` raises an InputError; AssertionError when its message is not one printable line."""
    try:
        call()
    except InputError as error:
        message = str(error)
        assert len(message.splitlines()) == 1, f"not one line: {message!r}"
        assert message == clean(message), f"holds control characters: {message!r}"
        return True
    return False


def check_expression(text: str, _: Path) -> bool:
    """What is read must be read the same again from its canonical spelling."""

    def call() -> None:
        found = parse_expression(text)
        assert parse_expression(canonical(found)) == found

    return not refused(call)


def check_round_trip(found: list[Component], _: Path) -> bool:
    """Components that can be spelled are read back as they were."""
    text = canonical(tuple(found))
    if len(text) > 2000 or not text.isprintable():
        return False
    assert parse_expression(text) == tuple(found), text
    return True


def check_literal(text: str, _: Path) -> bool:
    """A value is one that JSON holds."""

    def call() -> None:
        json.dumps(literal(text, "value"), allow_nan=False)

    return not refused(call)


def check_config(given_options: dict[str, Any], _: Path) -> bool:
    """A configuration has a hash, and the same one when its JSON is read back."""

    def call() -> None:
        config = make_config({"scenario": "toy", "strategy": "ewc", **given_options})
        again = make_config(json.loads(json.dumps(config.model_dump(), allow_nan=False)))
        assert again.hash8 == config.hash8

    return not refused(call)


def check_config_file(content: bytes, folder: Path) -> bool:
    """Settings from a file make a configuration or are refused."""
    path = folder / "settings.yaml"
    path.write_bytes(content)

    def call() -> None:
        check_config(read_config_file(path), folder)

    return not refused(call)


def check_matrix_file(example: tuple[str, bytes], folder: Path) -> bool:
    """A matrix that is read has metrics."""
    name, content = example
    path = folder / name
    path.write_bytes(content)
    return not refused(lambda: compute_metrics(read_matrix(path).matrix))


def check_run_folder(example: tuple[bytes, bytes], folder: Path) -> bool:
    """A run is found, or skipped with a line, by everything that reads runs; one that is found can be compared."""
    result, config = example
    run = RunFolder(folder / "toy" / "naive" / "tiny-s0-0123abcd")
    run.create()
    (run.path / "result.json").write_bytes(result)
    (run.path / "config.json").write_bytes(config)
    broken = refused(run.read_result)
    runs, skipped = find_runs([folder])
    assert len(runs) + len(skipped) == 1
    assert not (broken and runs)
    assert all(line == clean(line) for line in skipped), skipped
    for found in runs:
        _show(found)
    return bool(runs)


def _show(run: Run) -> None:
    result_summary(run.result).encode()
    other = Run(run.folder, run.result, dict(result_examples.CONFIG))
    for runs in ([run], [run, other]):
        comparison = compare(runs)
        for format in FORMATS:
            render(comparison, format).encode()


TARGETS = {
    "strategy expression": Target(
        st.text() | st.lists(examples.pieces).map("".join) | examples.spellings, check_expression
    ),
    "strategy expression, damaged": Target(
        result_examples.damaged(examples.spellings.map(str.encode)).map(
            lambda content: content.decode(errors="replace")
        ),
        check_expression,
    ),
    "strategy expression, round trip": Target(st.lists(examples.components, min_size=1, max_size=3), check_round_trip),
    "argument value": Target(
        st.text() | st.lists(examples.pieces).map("".join) | examples.literals.map(repr), check_literal
    ),
    "configuration": Target(examples.options | examples.good_options, check_config),
    "configuration file": Target(
        st.binary()
        | st.lists(examples.yaml_pieces).map("".join).map(str.encode)
        | (examples.options | examples.json_values).map(result_examples.to_bytes),
        check_config_file,
    ),
    "matrix file": Target(
        st.tuples(
            st.sampled_from(["matrix.csv", "result.json"]),
            st.binary()
            | examples.csv_text.map(str.encode)
            | result_examples.mutated(result_examples.good_results).map(result_examples.to_bytes)
            | examples.json_values.map(result_examples.to_bytes),
        ),
        check_matrix_file,
    ),
    "run folder": Target(st.tuples(result_examples.result_bytes, result_examples.config_bytes), check_run_folder),
}
