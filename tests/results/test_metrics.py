"""Metrics against matrices worked by hand, and the reading of matrices that people bring."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clbench.errors import InputError
from clbench.results import metrics
from clbench.results.metrics import METRICS, compute_metrics, forgetting_matrix, read_matrix

# Task 1 is best (.9) after task 2, not when it was learned (.8); task 2 is better at the end (.75) than then (.7).
HAND: list[list[float | None]] = [[0.1, 0.2, 0.3], [0.8, 0.3, 0.35], [0.9, 0.7, 0.4], [0.6, 0.75, 0.5]]


def test_metrics_by_hand() -> None:
    expected = {
        "average_accuracy": (0.6 + 0.75 + 0.5) / 3,
        "learning_accuracy": (0.8 + 0.7 + 0.5) / 3,
        "average_incremental_accuracy": (0.8 + 0.8 + (0.6 + 0.75 + 0.5) / 3) / 3,
        "forgetting": (0.3 - 0.05) / 2,
        "relative_forgetting": (0.3 / 0.9 - 0.05 / 0.7) / 2,
        "backward_transfer": (-0.2 + 0.05) / 2,
        "forward_transfer": ((0.3 - 0.2) + (0.4 - 0.3)) / 2,
        "worst_retention": 0.75,
    }
    assert compute_metrics(HAND) == pytest.approx(expected, abs=1e-12)


def test_forgetting_is_not_the_negative_of_backward_transfer() -> None:
    assert metrics.forgetting(HAND) == pytest.approx(0.125)
    assert metrics.backward_transfer(HAND) == pytest.approx(-0.075)


def test_forgetting_can_be_negative() -> None:
    improving: list[list[float | None]] = [[0.5, 0.5], [0.6, 0.5], [0.9, 0.7]]
    assert metrics.forgetting(improving) == pytest.approx(-0.3)
    assert metrics.worst_retention(improving) == pytest.approx(1.5)


def test_what_is_reached_before_a_task_is_learned_cannot_be_forgotten() -> None:
    assert metrics.forgetting([[1.0, 1.0, 1.0], [0.5, 1.0, 1.0], [0.5, 0.5, 1.0], [0.5, 0.5, 0.5]]) == 0


def test_forgetting_matrix_by_hand() -> None:
    result = forgetting_matrix(HAND)
    assert [[None if cell is None else round(cell, 12) for cell in row] for row in result] == [
        [None, None, None],
        [-0.1, None, None],
        [0.3, -0.05, None],
    ]


def test_forgetting_matrix_is_null_where_a_cell_is_unmeasured() -> None:
    matrix = [row[:] for row in HAND]
    matrix[2][0] = None
    assert [row[0] for row in forgetting_matrix(matrix)] == [None, None, None]
    assert forgetting_matrix(matrix)[2][1] == pytest.approx(-0.05)


def test_one_task_has_no_metrics_over_earlier_tasks() -> None:
    assert compute_metrics([[0.2], [0.7]]) == {
        "average_accuracy": 0.7,
        "learning_accuracy": 0.7,
        "average_incremental_accuracy": 0.7,
        "forgetting": None,
        "relative_forgetting": None,
        "backward_transfer": None,
        "forward_transfer": None,
        "worst_retention": None,
    }
    assert forgetting_matrix([[0.2], [0.7]]) == [[None]]


@pytest.mark.parametrize(
    ("row", "column", "null"),
    [
        (0, 0, set()),  # no metric needs the first task before training
        (0, 1, {"forward_transfer"}),
        (1, 2, set()),  # two steps ahead of being learned
        (1, 1, {"forward_transfer"}),
        (2, 0, {"average_incremental_accuracy", "forgetting", "relative_forgetting"}),
        (3, 2, {"average_accuracy", "learning_accuracy", "average_incremental_accuracy"}),
        (1, 0, set(METRICS) - {"average_accuracy", "forward_transfer"}),
        (3, 0, set(METRICS) - {"learning_accuracy", "forward_transfer"}),
    ],
)
def test_an_unmeasured_cell_nulls_just_the_metrics_that_need_it(row: int, column: int, null: set[str]) -> None:
    matrix = [line[:] for line in HAND]
    matrix[row][column] = None
    whole = compute_metrics(HAND)
    assert compute_metrics(matrix) == {name: None if name in null else value for name, value in whole.items()}


def test_relative_forgetting_of_a_task_never_learned_is_not_defined() -> None:
    assert metrics.relative_forgetting([[0.0, 0.0], [0.0, 0.0], [0.5, 0.5]]) is None
    assert metrics.relative_forgetting([[0.0, 0.0], [0.2, 0.0], [0.1, 0.9]]) == 0.5
    assert metrics.relative_forgetting([[0.0, 0.0], [0.9, 0.0], [0.0, 0.9]]) == 1.0


def test_intransigence_by_hand() -> None:
    # Learned to .8, .7, .5, and jointly to .9, .65, .7.
    assert metrics.intransigence(HAND, [0.9, 0.65, 0.7]) == pytest.approx((0.1 - 0.05 + 0.2) / 3)
    assert metrics.intransigence(HAND, [0.9, None, 0.7]) is None
    assert metrics.intransigence([*HAND[:2], [0.9, None, 0.4], HAND[3]], [0.9, 0.65, 0.7]) is None
    with pytest.raises(ValueError, match="zip"):
        metrics.intransigence(HAND, [0.9])


def test_retention_of_a_task_learned_to_zero_is_not_defined() -> None:
    assert metrics.worst_retention([[0.0, 0.0], [0.0, 0.0], [0.5, 0.5]]) is None
    assert metrics.worst_retention([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]]) == 0


@pytest.mark.parametrize(
    "bad", [[], [[0.1]], [[0.1, 0.2], [0.3]], [[0.1], [1.5]], [[0.1], [float("nan")]], [[0.1], [True]]]
)
def test_a_wrong_matrix_is_refused(bad: list[list[float | None]]) -> None:
    for metric in METRICS.values():
        with pytest.raises(InputError):
            metric(bad)


def write(folder: Path, content: str | bytes, name: str = "matrix.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "matrix"),
    [
        ("0.9,0.1\n0.8,0.7\n", [[None, None], [0.9, 0.1], [0.8, 0.7]]),
        ("0.5,0.5\n0.9,0.1\n0.8,0.7", [[0.5, 0.5], [0.9, 0.1], [0.8, 0.7]]),
        ("\ufeff0.9,\r\n .8 ,1e-1\r\n\r\n", [[None, None], [0.9, None], [0.8, 0.1]]),
        ("1,0\n0,1\n", [[None, None], [1, 0], [0, 1]]),
        ("0.7\n", [[None], [0.7]]),
        ("0.2\n0.7\n", [[0.2], [0.7]]),
        ("\n0.7\n", [[None], [0.7]]),
        (",\n0.9,0.1\n0.8,0.7\n", [[None, None], [0.9, 0.1], [0.8, 0.7]]),
    ],
)
def test_csv(tmp_path: Path, content: str, matrix: list[list[float | None]]) -> None:
    assert read_matrix(write(tmp_path, content)) == (matrix, None)


def test_percentages_are_converted_and_reported(tmp_path: Path) -> None:
    matrix, note = read_matrix(write(tmp_path, "90,0.5\n,100\n"))
    assert matrix == [[None, None], [0.9, 0.005], [None, 1.0]]
    assert note is not None
    assert "100" in note
    assert "percent" in note


def test_a_cell_above_1_by_rounding_makes_no_percentages(tmp_path: Path) -> None:
    matrix, note = read_matrix(write(tmp_path, "0.9,0.1\n0.8,1.0000001\n"))
    assert matrix == [[None, None], [0.9, 0.1], [0.8, 1.0]]
    assert note is not None
    assert "1.0000001" in note
    assert read_matrix(write(tmp_path, "90,10\n80,100.00001\n")).matrix == [[None, None], [0.9, 0.1], [0.8, 1.0]]
    # Zeros are both: in a class setting most percentages are 0.
    zeros = read_matrix(write(tmp_path, "0,0,0\n97,0,0\n12,95,0\n0,0,93.5")).matrix
    assert zeros == [[0, 0, 0], [0.97, 0, 0], [0.12, 0.95, 0], [0, 0, 0.935]]


def test_retention_beyond_all_numbers_is_not_defined() -> None:
    assert metrics.worst_retention([[0.0, 0.0], [5e-324, 0.0], [1.0, 0.5]]) is None


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ["empty"]),
        ("0.9,0.1\n0.8,1.5\n", ["line 2, cell 2", "1.5", "3 numbers up to 1", "fractions"]),
        ("0.9,0.1\n93,0.7\n", ["line 2, cell 1", "93"]),
        ("\n\n", ["empty"]),
        (",\n,\n", ["no number"]),
        ("0.9,0.1\n0.8\n", ["line 2", "1 cell"]),
        ("a,b\n0.9,0.1\n0.8,0.7\n", ["line 1, cell 1", "'a'", "header"]),
        ("0.9,nan\n0.8,0.7\n", ["line 1, cell 2", "'nan'"]),
        ("0.9,inf\n0.8,0.7\n", ["line 1, cell 2", "'inf'"]),
        ("0.9,-0.1\n0.8,0.7\n", ["line 1, cell 2", "'-0.1'", "0 to 1"]),
        ("90,100.1\n80,70\n", ["line 1, cell 2", "'100.1'"]),
        ("0.9;0.1\n0.8;0.7\n", ["line 1, cell 1", "commas"]),
        ("0.9,0.1\n", ["1 rows and 2 columns"]),
        ("0.9\n0.9\n0.9\n", ["3 rows and 1 columns"]),
        ('0.9,"0.1\n', ["CSV"]),
        (b"0.9,\xff\n", ["UTF-8"]),
        (b"0.9,\0\n", ["binary"]),
    ],
)
def test_a_bad_csv_is_refused_in_one_line_that_names_the_place(
    tmp_path: Path, content: str | bytes, parts: list[str]
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read_matrix(path)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in [str(path), *parts])


def test_result_json(tmp_path: Path) -> None:
    assert read_matrix(write(tmp_path, json.dumps({"accuracy_matrix": HAND}), "result.json")) == (HAND, None)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "not JSON"),
        ("[" * 970 + "]" * 970, "nest deeper than 50"),
        ("[]", "accuracy_matrix"),
        ('{"accuracy_matrix": [[1e999], [0.5]]}', "1e999"),
        ("{}", "accuracy_matrix"),
        ('{"accuracy_matrix": [[0.1], [90]]}', "row 1, task 1: 90"),
        ('{"accuracy_matrix": [[0.1], [NaN]]}', "NaN is no JSON number"),
        ('{"accuracy_matrix": [[0.1], ["0.2"]]}', "row 1, task 1: '0.2'"),
        ('{"accuracy_matrix": [[0.1], [0.2, 0.3]]}', "row 1 has 2 cells"),
        ('{"accuracy_matrix": [1, 2]}', "rows"),
    ],
)
def test_a_bad_result_json_is_refused(tmp_path: Path, content: str, part: str) -> None:
    with pytest.raises(InputError) as caught:
        read_matrix(write(tmp_path, content, "result.json"))
    assert part in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.csv: cannot be read"):
        read_matrix(tmp_path / "missing.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_matrix(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_matrix("nul\0character")
