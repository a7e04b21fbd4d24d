"""How a run's wrong answers are laid out on a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len

from clbench.report import find_errors, render_errors, with_texts
from clbench.report.mistake_records import RunErrors
from clbench.results import find_run
from clbench.text import natural
from tests.commands.test_errors import CELLS, Rows, write_run

MANY = [f"a label whose name is longer than a third of a line {i}" for i in range(30)]
LONG = "a task whose name is longer than a third of a line"
TEXT = "\x1b[31mred " + "word " * 200 + "end"


@pytest.fixture
def many(tmp_path: Path) -> RunErrors:
    """30 labels, all lost to one of another task."""
    cells: dict[tuple[int, str], Rows] = {
        (1, LONG): [(label, label, 0.9) for label in MANY],
        (2, LONG): [(label, "fish", 0.9 - i / 100) for i, label in enumerate(MANY)],
        (2, "food"): [("fish", "fish", 0.9)],
    }
    errors = find_errors(find_run([write_run(tmp_path / "run", cells, [LONG, "food"])]))
    return with_texts(errors, {LONG: [TEXT, "数据" * 200, *["short"] * 28], "food": ["text"]}, ["a note"])


def test_eighty_columns_are_kept(many: RunErrors) -> None:
    lines = render_errors(many, width=80).splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert "30 kinds of confusion; --wide, --format json and `clbench plot confusion` show" in lines
    assert "25 more labels lost, too: --format json" in lines
    start = lines.index(f"    \\x1b[31mred{' word' * 13}")
    assert lines[start + 2].endswith(" ...")
    assert lines[start + 3].startswith("0.890 example 1: ")
    wide = [line for line in lines if line.startswith("    \u6570")]
    assert (len(wide), wide[-1][-4:]) == (3, " ...")


def test_without_a_width_nothing_is_left_out(many: RunErrors) -> None:
    lines = render_errors(many).splitlines()
    assert f"    {TEXT.replace(chr(27), chr(92) + 'x1b')}" in lines
    assert "31: fish (food)" in lines
    assert not any("--wide" in line for line in lines)
    assert "note: a note" in lines


def test_a_matrix_with_room_is_shown(tmp_path: Path) -> None:
    errors = find_errors(find_run([write_run(tmp_path / "run", CELLS, ["pets", "food"])]), ["pets"])
    assert "1 cat           1  .  1  1" in render_errors(errors, width=40).splitlines()
    assert "label  answered    examples" in render_errors(errors, width=25).splitlines()


def test_numbers_in_names_count() -> None:
    names = ["10", "9", "a10", "a9b", "a9", "a", "", "a09c", "x" + "9" * 5000]
    assert sorted(names, key=natural) == ["", "9", "10", "a", "a9", "a9b", "a09c", "a10", "x" + "9" * 5000]
