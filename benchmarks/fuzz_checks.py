"""What becomes of one example: taken, or refused in one line; a value must survive what is done with it next."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import examples, result_examples
from clbench.cli import main
from clbench.config import make_config, read_config_file
from clbench.errors import InputError
from clbench.plugins import Component, canonical, literal, parse_expression
from clbench.report import FORMATS, compare, render, result_summary
from clbench.results import Run, RunFolder, compute_metrics, find_runs, read_matrix
from clbench.tasks.tables import read_table
from clbench.text import clean


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


def check_table(content: bytes, folder: Path) -> bool:
    """A table that is read has a text and a label in every row, none of them blank."""
    path = folder / "table.csv"
    path.write_bytes(content)

    def call() -> None:
        for row in read_table(path, examples.TABLE_COLUMNS):
            assert len(row.cells) == len(examples.TABLE_COLUMNS)
            assert all(cell == cell.strip() and cell for cell in row.cells), row

    return not refused(call)


def check_table_round_trip(rows: list[tuple[str, ...]], folder: Path) -> bool:
    """What csv writes is read as it was written, but for blanks around cells and empty rows, or it is refused."""
    path = folder / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([examples.TABLE_COLUMNS, *rows])
    stripped = [tuple(cell.strip() for cell in row) for row in rows]
    expected = [row for row in stripped if any(row)]
    found: list[tuple[str, ...]] = []

    def call() -> None:
        found.extend(row.cells for row in read_table(path, examples.TABLE_COLUMNS))

    taken = not refused(call)
    assert not taken or found == expected, found
    return taken


def check_command(words: list[str], folder: Path) -> bool:
    """A command line is done, or refused with exit code 2, nothing on stdout and one line on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(folder):
        code = main(list(words))
    if code == 0:
        return True
    said = err.getvalue()
    assert code == 2, f"exit code {code}: {said!r}"
    assert said.splitlines()[-1].startswith("error: "), said
    assert len(said.splitlines()) == 1, said
    assert not out.getvalue(), out.getvalue()
    assert said == clean(said.rstrip("\n")) + "\n", f"holds control characters: {said!r}"
    return False


def _show(run: Run) -> None:
    result_summary(run.result).encode()
    other = Run(run.folder, run.result, dict(result_examples.CONFIG))
    for runs in ([run], [run, other]):
        comparison = compare(runs)
        for format in FORMATS:
            render(comparison, format).encode()
