"""The figure of confusion matrices by its contents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clbench.errors import InputError
from clbench.report import confusions, find_errors
from clbench.report.confusions import PALE_GREY, confusion_figure
from clbench.results import find_run
from tests.commands.test_errors import CELLS, Rows, write_run


def panels(figure: Any) -> list[Any]:
    return [axis for axis in figure.axes if axis.get_title(loc="left")]


def names(labels: Any) -> list[str]:
    return [label.get_text() for label in labels]


def numbers(panel: Any) -> dict[tuple[int, int], str]:
    return {
        (round(t.get_position()[1]), round(t.get_position()[0])): t.get_text()
        for t in panel.texts
        if t.get_text().isdigit()
    }


def test_the_class_setting_is_one_matrix_of_all_tasks(tmp_path: Path) -> None:
    figure = confusion_figure(find_errors(find_run([write_run(tmp_path / "run", CELLS, ["pets", "food"])])))
    (panel,) = panels(figure)
    assert panel.get_title(loc="left") == "2 tasks: 0.429 right"  # 3 of 7
    assert names(panel.get_yticklabels()) == names(panel.get_xticklabels()) == ["cat", "dog", "pie", "tea"]
    assert numbers(panel) == {
        **{(0, 0): "1", (0, 2): "1", (0, 3): "1"},
        **{(1, 1): "1", (1, 2): "1"},
        **{(2, 2): "1", (3, 2): "1"},
    }
    assert panel.images[0].get_array().tolist()[0] == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])
    assert panel.images[0].get_clim() == (0, 1)
    assert [patch.get_xy() for patch in panel.patches] == [(i - 0.5, i - 0.5) for i in range(4)]
    separators = [line.get_data() for line in panel.lines if line.get_color() == PALE_GREY]
    assert [([*x], [*y]) for x, y in separators] == [([0, 1], [1.5, 1.5]), ([1.5, 1.5], [0, 1])]
    assert [t.get_text() for t in panel.texts if not t.get_text().isdigit()] == ["pets", "food"]


def test_rows_of_one_task_have_the_columns_of_its_answers(tmp_path: Path) -> None:
    run = find_run([write_run(tmp_path / "run", CELLS, ["pets", "food"])])
    (panel,) = panels(confusion_figure(find_errors(run, ["food"])))
    assert panel.get_title(loc="left") == "food: 0.500 right"
    assert (names(panel.get_yticklabels()), names(panel.get_xticklabels())) == (["pie", "tea"], ["pie", "tea"])
    (panel,) = panels(confusion_figure(find_errors(run, ["pets"], after=1)))
    assert names(panel.get_xticklabels()) == ["cat", "dog"]


def test_other_settings_have_a_panel_a_task_and_say_whose_a_label_is(tmp_path: Path) -> None:
    cells: dict[tuple[int, str], Rows] = {
        (2, "a"): [("x", "x", 0.9), ("x", "y", 0.9)],
        (2, "b"): [("y", "y", 0.9)],
    }
    figure = confusion_figure(find_errors(find_run([write_run(tmp_path / "run", cells, ["a", "b"], "domain")])))
    assert [panel.get_title(loc="left") for panel in panels(figure)] == ["a: 0.500 right", "b: 1.000 right"]
    assert [names(panel.get_xticklabels()) for panel in panels(figure)] == [["x", "y (b)"], ["y"]]


@pytest.mark.parametrize("count", [2, 40])
def test_names_and_panels_stay_inside_and_apart(count: int, tmp_path: Path) -> None:
    """Whatever the labels are called: nothing is cut off, no name of a panel reaches into another one."""
    labels = [f"a label with a long name, number {i} of ${count}" for i in range(count)]
    tasks = ["first", "a second task whose name is longer than any should be", "third"]
    cells = {
        (3, task): [(label, labels[0], 0.5) for label in labels[: count // (i + 1)]] for i, task in enumerate(tasks)
    }
    figure = confusion_figure(find_errors(find_run([write_run(tmp_path / "run", cells, tasks, "task")])))
    figure.savefig(tmp_path / "figure.png")
    whole, boxes = figure.bbox, [panel.get_tightbbox() for panel in panels(figure)]
    for box in boxes:
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1
        assert whole.y0 <= box.y0 < box.y1 <= whole.y1
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    shown = [len(names(panel.get_yticklabels())) for panel in panels(figure)]
    assert shown == [count, count // 2, max(1, count // 3)][: len(shown)]


def test_more_than_fits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = find_errors(find_run([write_run(tmp_path / "run", CELLS, ["pets", "food"])]))
    monkeypatch.setattr(confusions, "LARGEST_FIGURE", 3.0)
    with pytest.raises(InputError, match="2 tasks have no room in one plot; give some of them with --task"):
        confusion_figure(errors)
