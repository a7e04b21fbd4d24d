"""Ability and probe in tables, notes and figures, and what a result.json may hold of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from clbench.errors import InputError
from clbench.report import compare
from clbench.report.ability_curve import ability_figure
from clbench.report.columns import DEFAULT_COLUMNS
from clbench.report.plots import plot_ability
from clbench.report.rendering import render
from clbench.report.tables import result_summary
from clbench.results import ability_lost
from clbench.results.metrics import compute_metrics
from clbench.results.schema import validate_result
from tests.report.test_plots import make_run as make_plotted
from tests.report.test_tables import make_run
from tests.results.test_results import MATRIX, make_result

PROBE = [[0.5, 0.5], [1.0, 0.5], [0.9, 1.0]]


def ability(*values: float | None, higher: bool = False) -> dict[str, Any]:
    return {"name": "loss per token", "unit": "nats", "higher_is_better": higher, "values": list(values)}


def test_lost_is_how_much_worse_it_is_at_the_end() -> None:
    assert ability_lost({"ability": ability(4.0, 4.5, 4.25)}) == 0.25
    assert ability_lost({"ability": ability(0.75, 0.25, 0.5, higher=True)}) == 0.25
    assert ability_lost({"ability": ability(0.5, None, 0.75, higher=True)}) == -0.25
    assert ability_lost({"ability": ability(4.0, None, None)}) is None
    assert ability_lost({}) is None


def test_columns_are_there_where_a_run_has_them() -> None:
    assert compare([make_run()]).columns == DEFAULT_COLUMNS
    runs = [make_run(), make_run("ewc")]
    runs[1].result.update(ability=ability(4.0, 4.5, 4.25), probe_matrix=PROBE, metrics_probe=compute_metrics(PROBE))
    comparison = compare(runs)
    assert [name for name in comparison.columns if name not in DEFAULT_COLUMNS] == ["probe_forgetting", "ability_lost"]
    naive, ewc = comparison.tables[0].rows
    assert ewc.cells["ability_lost"].mean == 0.25
    assert ewc.cells["probe_forgetting"].mean == pytest.approx(0.1)
    assert naive.cells["ability_lost"].mean is None
    note = "ability lost: loss per token, in nats, at the end against before training"
    assert note in comparison.tables[0].notes
    assert "probe_average_accuracy" in compare(runs, ["probe_average_accuracy"]).columns
    assert re.search(r"ability lost \S +0\.250", result_summary(runs[1].result))
    assert "ability lost" not in result_summary(runs[0].result)
    assert "ability" in render(comparison, "table", 60)  # a narrow terminal has room for it


def test_runs_made_before_the_options_share_a_row_with_those_that_do_not_use_them() -> None:
    runs = [make_run(seed=0), make_run(seed=1), make_run(seed=2)]
    runs[1].config.update(ability=False, probe=False)
    runs[2].config.update(ability=True, probe=False)
    first, second = compare(runs).tables[0].rows
    assert {len(row.runs): row.label for row in (first, second)} == {
        2: "naive [ability=false]",
        1: "naive [ability=true]",
    }


def test_the_curve_has_a_line_a_strategy(tmp_path: Path) -> None:
    runs = [
        make_plotted(seed=0, ability=ability(4.0, 5.0, 4.5)),
        make_plotted(seed=1, ability=ability(4.0, 6.0, 5.5)),
        make_plotted("joint", ability=ability(4.0, None, 4.2)),
        make_plotted("ewc"),
    ]
    figure = ability_figure(runs)
    (axis,) = figure.axes
    lines: dict[str, Any] = {str(each.get_label()): vars(each)["lines"][0] for each in axis.containers}
    assert {name: list(line.get_ydata()) for name, line in lines.items()} == {
        "naive": [4.0, 5.5, 5.0], "joint": [4.0, 4.2],
    }  # fmt: skip
    assert list(lines["joint"].get_xdata()) == [0, 2]
    assert axis.get_ylabel() == "loss per token (nats; lower is better)"
    plot_ability(runs, tmp_path / "ability.svg")
    with pytest.raises(InputError, match="no run has measured an ability"):
        ability_figure(runs[3:])
    other = {**ability(1.0, 1.0, 1.0), "name": "another"}
    with pytest.raises(InputError, match="2 abilities in one plot: another, loss per token"):
        ability_figure([*runs, make_plotted("si", ability=other)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ability": 3}, "ability is not an object of name, unit, higher_is_better, values"),
        ({"ability": ability(1.0, 2.0)}, "ability.values is not a list of 3 numbers"),
        ({"ability": ability(1.0, 2.0, 10**400)}, "ability.values is not a list of 3 numbers"),
        ({"ability": {**ability(1.0, 2.0, 3.0), "unit": ""}}, "ability is not an object of name, unit"),
        ({"ability": ability(1.0, 2.0, float("nan"))}, "ability.values is not a list of 3 numbers"),
        ({"probe_matrix": [[0.1, 2.0], [0.1, 0.1], [0.1, 0.1]]}, "probe_matrix, row 0, task 2: 2.0 is not 0 to 1"),
        (
            {"probe_matrix": MATRIX, "metrics_probe": {**compute_metrics(MATRIX), "forgetting": 0.9}},
            "metrics_probe.forgetting is 0.9, but probe_matrix gives",
        ),
    ],
)
def test_what_does_not_agree_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        validate_result(make_result(**changes), "result.json")
    assert message in str(caught.value)
    fine = {"ability": ability(1.0, None, 2), "probe_matrix": MATRIX, "metrics_probe": compute_metrics(MATRIX)}
    validate_result(make_result(**fine), "result.json")
