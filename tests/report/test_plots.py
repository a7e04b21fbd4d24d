"""Figures by their contents: cells, lines, markers, names; and the files they are saved to."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import _pylab_helpers
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from clbench.errors import InputError
from clbench.report.curves import PALE, curves_figure
from clbench.report.heatmaps import matrix_figure
from clbench.report.plot_labels import place_names, shared_area
from clbench.report.plot_series import collect, figure_names
from clbench.report.plot_styles import COLOURS, series_styles, style_of
from clbench.report.plots import plot_curves, plot_matrix, plot_tradeoff
from clbench.report.tradeoff import tradeoff_figure
from clbench.results.metrics import compute_metrics
from clbench.results.runs import Run

TASKS = ["first", "second"]


def make_run(
    strategy: str = "naive", seed: int = 0, last: float | None = 0.5, wall: float = 10.0, **changes: Any
) -> Run:
    """Two tasks; ends with accuracy ``last`` on the first."""
    matrix = [[None, 0.2], [0.8, 0.3], [last, 0.9]]
    result: dict[str, Any] = {
        "scenario": "toy",
        "setting": "task",
        "strategy": strategy,
        "model": "tiny",
        "seed": seed,
        "tasks": TASKS,
        "limited": False,
        "accuracy_matrix": matrix,
        "cost": {"wall_seconds": wall},
    } | changes
    result["metrics"] = compute_metrics(result["accuracy_matrix"])
    return Run(Path(strategy), result, {"hash8": str(seed), "epochs": 2})


def axes_of(figure: Figure) -> list[Any]:
    return list(figure.axes)


def test_matrix_cells_are_means_over_seeds_and_dashes_where_unmeasured() -> None:
    figure = matrix_figure([make_run(seed=0, last=0.5), make_run(seed=1, last=0.7)])
    panel, bar = axes_of(figure)
    assert [text.get_text() for text in panel.texts] == ["\u2013", "0.20", "0.80", "0.30", "0.60", "0.90"]
    assert panel.get_title() == "naive"
    assert [label.get_text() for label in panel.get_xticklabels()] == TASKS
    assert [label.get_text() for label in panel.get_yticklabels()] == ["(nothing)", *TASKS]
    assert bar.get_ylabel() == "accuracy (fraction correct)"
    assert panel.images[0].get_clim() == (0, 1)
    assert figure.get_suptitle() == "toy, task setting, tiny, 2 seeds"


@pytest.mark.parametrize(
    ("measures", "name", "learning"),
    [
        (["entity_f1"], "entity f1 (0 to 1)", "learning accuracy (0 to 1; up is better)"),
        (["mixed"], "each task's measure (0 to 1)", "learning accuracy (0 to 1; up is better)"),
        (["accuracy", "rouge_l"], "each task's measure (0 to 1)", "learning accuracy (0 to 1; up is better)"),
        (["accuracy"], "accuracy (fraction correct)", "learning accuracy (fraction correct; up is better)"),
    ],
)
def test_axes_say_what_was_measured(measures: list[str], name: str, learning: str) -> None:
    runs = [make_run(strategy, measure=each) for strategy, each in zip(("naive", "ewc"), measures, strict=False)]
    assert curves_figure(runs).get_supylabel() == name
    assert axes_of(matrix_figure(runs))[-1].get_ylabel() == name
    assert axes_of(tradeoff_figure(runs))[0].get_ylabel() == learning


def test_matrix_text_stands_out_from_its_cell() -> None:
    values = [[0.0, 0.1, 0.2], [0.3, 0.4, 0.5], [0.6, 0.7, 0.8], [0.9, 1.0, 0.45]]
    figure = matrix_figure([make_run(accuracy_matrix=values, tasks=["a", "b", "c"])])
    panel = axes_of(figure)[0]
    for text, value in zip(panel.texts, [value for row in values for value in row], strict=True):
        linear = [((part + 0.055) / 1.055) ** 2.4 for part in panel.images[0].cmap(value)[:3]]
        luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        ink = {"white": 1.0, "black": 0.0}[str(text.get_color())]
        assert (max(ink, luminance) + 0.05) / (min(ink, luminance) + 0.05) > 4.5  # WCAG 2, level AA


def test_one_panel_for_each_strategy_and_setting() -> None:
    runs = [make_run(), make_run("ewc"), make_run("si"), make_run("si", model="minilm")]
    figure = matrix_figure(runs)
    assert [axis.get_title() for axis in axes_of(figure) if axis.images] == [
        "naive, tiny",
        "ewc, tiny",
        "si, tiny",
        "si, minilm",
    ]
    assert figure.get_suptitle() == "toy, task setting, 1 seed"


def test_curves_show_mean_and_deviation_of_each_task() -> None:
    figure = curves_figure([make_run(seed=0, last=0.5), make_run(seed=1, last=0.7), make_run("ewc", last=0.9)])
    first, second = axes_of(figure)
    assert [first.get_title(), second.get_title()] == ["task 1: first", "task 2: second"]
    before, after = (line for line in first.lines if line.get_color() == style_of("naive").colour)
    assert list(after.get_xdata()) == [1, 2]
    assert list(after.get_ydata()) == pytest.approx([0.8, 0.6])
    assert list(before.get_xdata()) == [0, 1]
    assert before.get_alpha() < 1
    assert len(first.collections) == 1  # the band of the strategy with two seeds
    band = first.collections[0].get_paths()[0].vertices
    assert sorted({round(y, 6) for x, y in band if x == 2}) == pytest.approx(
        [0.6 - 0.02**0.5, 0.6 + 0.02**0.5], abs=1e-6
    )
    assert [line.get_xdata()[0] for line in (first.lines[-1], second.lines[-1])] == [1, 2]  # where it is learned
    assert first.get_ylim() == (0, 1)


def test_curves_have_one_legend() -> None:
    figure = curves_figure([make_run(), make_run("ewc"), make_run("ewc(x=1)")])
    legends: list[Any] = [*figure.legends, *(axis.get_legend() for axis in axes_of(figure) if axis.get_legend())]
    (legend,) = legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["naive", "ewc", "ewc(x=1)", "task learned", "before it is learned"]


def test_curves_and_tradeoff_take_one_task_sequence() -> None:
    for draw in (curves_figure, tradeoff_figure):
        with pytest.raises(InputError, match="2 scenarios in one plot: other, toy"):
            draw([make_run(), make_run(scenario="other")])
        with pytest.raises(InputError, match="2 task sequences"):
            draw([make_run(), make_run(tasks=["second", "first"])])


def test_tasks_that_the_seed_draws_go_by_their_number() -> None:
    runs = [make_run(), make_run("ewc"), make_run("ewc", seed=1, last=0.7, tasks=["second", "first"])]
    figure = curves_figure(runs)
    assert [axis.get_title() for axis in axes_of(figure)[:2]] == ["task 1", "task 2"]
    assert [series.mean[2][0] for series in collect(runs)] == pytest.approx([0.5, 0.6])
    axis = axes_of(matrix_figure(runs))[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["(nothing)", "1", "2"]


def test_the_strategies_plotted_most_differ_for_every_eye() -> None:
    """In OKLab, as seen by all cones and without the red or the green ones (Machado et al. 2009), far from the grey."""
    red = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    green = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    to_cones = np.array([[0.41222147, 0.53633254, 0.05144599], [0.2119035, 0.68069955, 0.10739696],
                         [0.08830246, 0.28171884, 0.62997870]])  # fmt: skip
    to_lab = np.array([[0.21045426, 0.79361779, -0.00407205], [1.9779985, -2.4285922, 0.45059371],
                       [0.02590404, 0.78277177, -0.80867577]])  # fmt: skip
    parts = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in [*COLOURS.values(), PALE]])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    for eye in (np.eye(3), np.array(red), np.array(green)):
        seen = np.cbrt(np.clip(linear @ eye.T, 0, 1) @ to_cones.T) @ to_lab.T
        distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 9 * np.eye(len(seen))
        assert distances.min() > 0.07  # the nearest two of Okabe and Ito have 0.076
    assert len({style_of(name) for name in COLOURS}) == len(COLOURS) == 12


def test_a_strategy_has_one_colour_in_every_figure() -> None:
    names = ["mas", "ewc", "my_own(x=1)", "naive", "./mine.py"]
    alone = {name: style_of(name) for name in names}
    assert [style.colour for style in series_styles(names)] == [alone[name].colour for name in names]
    assert [style.colour for style in series_styles(names[::-1])] == [alone[name].colour for name in names[::-1]]
    assert alone["mas"].colour == "#D55E00"  # the second shared one: crc32 of "mas" ends in the digit 1
    assert {alone[name].colour for name in names if name not in COLOURS}.isdisjoint(
        {COLOURS["naive"], COLOURS["joint"]}
    )
    for figure in (curves_figure([make_run("mas"), make_run("ewc")]), curves_figure([make_run("ewc")])):
        line = next(line for line in axes_of(figure)[0].lines if line.get_label() == "ewc")
        assert line.get_color() == COLOURS["ewc"]
    markers: list[Any] = list(axes_of(tradeoff_figure([make_run("si"), make_run("ewc")]))[0].collections)
    assert tuple(markers[-1].get_edgecolor()[0][:3]) == pytest.approx(to_rgb(COLOURS["ewc"]))
    forty = series_styles(["ewc"] * 40)  # the same strategy with forty settings
    assert len(set(forty)) == 40
    assert {style.colour for style in forty} == {COLOURS["ewc"]}


def test_many_strategies_are_split_into_rows_the_best_first() -> None:
    runs = [make_run(f"s{i:02}", last=0.9 - 0.01 * i) for i in range(20)]
    figure = curves_figure(runs)
    assert len(axes_of(figure)) == 3 * 3  # rows of two tasks and a legend
    legends = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in axes_of(figure)[2::3]]
    assert legends[0] == [*(f"s{i:02}" for i in range(7)), "task learned", "before it is learned", "the others"]
    assert legends[1:] == [[f"s{i:02}" for i in range(7, 14)], [f"s{i:02}" for i in range(14, 20)]]
    first = axes_of(figure)[0]
    assert sum(line.get_color() == PALE for line in first.lines) == 13
    assert axes_of(figure)[2].get_legend().get_title().get_text().startswith("1 to 7 of 20\n")
    with pytest.raises(InputError, match="81 strategies in one plot; allowed: 80; give the folders of fewer"):
        curves_figure([make_run(f"s{i}") for i in range(81)])


def many_tasks(count: int, strategy: str = "naive") -> Run:
    """Task j is learned to .9 and loses .1 in each hundred tasks that follow."""
    matrix = [[0.9 - 0.001 * (i - j - 1) if i > j else 0.1 for j in range(count)] for i in range(count + 1)]
    return make_run(strategy, accuracy_matrix=matrix, tasks=[f"task{j + 1}" for j in range(count)])


def test_three_hundred_tasks_have_a_picture_of_a_size(tmp_path: Path) -> None:
    run = many_tasks(300)
    curves = curves_figure([run])
    titles = [axis.get_title() for axis in axes_of(curves)]
    assert len(titles) == 12
    assert (titles[0], titles[1], titles[-1]) == ("task 1: task1", "task 28: task28", "task 300: task300")
    assert "12 of 300 tasks, evenly spaced" in curves.get_suptitle()
    line = next(line for line in axes_of(curves)[1].lines if line.get_label() == "naive")
    assert list(line.get_ydata())[::100] == pytest.approx([0.9, 0.8, 0.7])
    matrix = matrix_figure([run])
    assert max(matrix.get_size_inches()) < 12
    assert not axes_of(matrix)[0].texts
    assert [label.get_text() for label in axes_of(matrix)[0].get_xticklabels()][:2] == ["task1", "task14"]
    assert [label.get_text() for label in axes_of(matrix)[0].get_yticklabels()][:2] == ["(nothing)", "task14"]
    assert axes_of(matrix)[0].images[0].get_array().shape == (301, 300)
    with pytest.raises(InputError, match="allowed: 80"):
        matrix_figure([make_run(f"s{i}") for i in range(81)])
    plot_matrix([run], tmp_path / "matrix.png")
    plot_curves([run], tmp_path / "curves.png")
    assert all((tmp_path / name).stat().st_size < 2**20 for name in ("matrix.png", "curves.png"))


def test_runs_on_dev_are_told_in_the_title() -> None:
    dev = make_run()
    dev.config["eval_split"] = "dev"
    assert curves_figure([dev]).get_suptitle() == "toy, task setting, tiny, on dev, 1 seed"
    both = curves_figure([dev, make_run()])
    names = [text.get_text() for legend in both.legends for text in legend.get_texts()]
    assert names[:2] == ["naive, dev", "naive, test"]


def test_tradeoff_marks_and_sizes() -> None:
    runs = [make_run(wall=10.0), make_run("ewc", last=0.7, wall=30.0), make_run("ewc", seed=1, last=0.6, wall=30.0)]
    axis = axes_of(tradeoff_figure(runs))[0]
    markers: list[Any] = [points for points in axis.collections if isinstance(points, PathCollection)]
    naive, ewc = markers
    assert naive.get_offsets().tolist() == [pytest.approx([0.3, 0.85])]
    assert ewc.get_offsets().tolist() == [pytest.approx([0.15, 0.85])]
    assert ewc.get_sizes()[0] / naive.get_sizes()[0] == pytest.approx(3.0)
    assert [text.get_text() for text in axis.texts] == ["naive", "ewc"]
    assert "forgetting" in axis.get_xlabel()
    assert "learning accuracy" in axis.get_ylabel()


def test_tradeoff_without_naive_is_hollow_and_says_so() -> None:
    figure = tradeoff_figure([make_run("ewc")])
    assert axes_of(figure)[0].collections[-1].get_facecolor()[0, :3].tolist() == [1, 1, 1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["unknown"]


def test_tradeoff_names_what_it_cannot_show() -> None:
    figure = tradeoff_figure([make_run(), make_run("ewc", last=None)])
    assert "not shown, as a metric is unmeasured: ewc" in figure.get_suptitle()
    one = make_run(accuracy_matrix=[[0.1], [0.9]], tasks=["only"])
    with pytest.raises(InputError, match="two tasks"):
        tradeoff_figure([one])


def test_a_crowds_names_do_not_touch() -> None:
    runs = []
    for i in range(36):  # six columns of six in a corner; naive, the last one, forgets more and learns less
        first, lost = (0.5, 0.4) if i == 35 else (0.6 + 0.02 * (i % 6), 0.02 * (i // 6))
        matrix = [[None, 0.2], [first, 0.3], [first - lost, 0.8]]
        runs.append(make_run("naive" if i == 35 else f"strategy_{i}", accuracy_matrix=matrix))
    texts = axes_of(tradeoff_figure(runs))[0].texts
    boxes = [tuple(text.get_window_extent().extents) for text in texts]
    assert len(boxes) == 36
    assert not any(shared_area(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def name_boxes(
    points: list[tuple[float, float]], width: float, frame: tuple[float, float, float, float]
) -> list[tuple[float, float, float, float]]:
    """What names of this width and height 10 cover that are placed beside markers of radius 3."""
    marks = [[(x - 3, y - 3, x + 3, y + 3)] for x, y in points]
    places = place_names(points, [3.0] * len(points), marks, [(width, 10.0)] * len(points), frame)
    boxes = []
    for (x, y), place in zip(points, places, strict=True):
        left, bottom = x + place.x - width * (1 - place.horizontal) / 2, y + place.y - 10 * (1 - place.vertical) / 2
        boxes.append((left, bottom, left + width, bottom + 10))
    assert all(shared_area(box, own[0]) == 0 for box in boxes for own in marks)
    return boxes


def test_names_meet_neither_each_other_nor_markers() -> None:
    boxes = name_boxes([(100, 100), (108, 104), (104, 92), (104, 99), (96, 95)], 80, (0, 0, 400, 200))
    assert all(shared_area(a, b) == 0 for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_a_lone_name_is_right_beside_its_marker() -> None:
    (box,) = name_boxes([(100, 50)], 80, (0, 0, 400, 200))
    assert list(box) == pytest.approx([107, 45, 187, 55])


def test_a_name_stays_in_the_axes() -> None:
    (box,) = name_boxes([(190, 50)], 80, (0, 0, 200, 100))
    assert shared_area(box, (0, 0, 200, 100)) == pytest.approx(800)


def test_names_are_short_different_and_no_mathematics() -> None:
    names = figure_names(
        ["a$x_1$", "x" * 50 + "1", "x" * 50 + "2", "y" * 20 + "z" + "y" * 40, "y" * 20 + "w" + "y" * 40], 20
    )
    assert names[0] == r"a\$x_1\$"
    assert all(len(name) <= 24 for name in names)
    assert len(set(names)) == 5
    figure = matrix_figure([make_run("a$x_1$^{")])
    figure.savefig(io.BytesIO(), format="png")  # mathematics would fail to parse


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("PNG", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_files_by_suffix_are_the_same_each_time(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / f"figure.{suffix}"
    plot_matrix([make_run()], path)
    content = path.read_bytes()
    assert content.startswith(start)
    plot_matrix([make_run()], path)
    assert path.read_bytes() == content
    assert b"CreationDate" not in content
    assert b"<dc:date>" not in content
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_png_has_enough_pixels_for_print(tmp_path: Path) -> None:
    from matplotlib.image import imread

    for plot, figure in [(plot_curves, curves_figure), (plot_tradeoff, tradeoff_figure)]:
        plot([make_run()], tmp_path / "figure.png")
        width = figure([make_run()]).get_size_inches()[0]
        assert imread(tmp_path / "figure.png").shape[1] >= 150 * width


def test_pyplot_keeps_no_figure(tmp_path: Path) -> None:
    kept = list(_pylab_helpers.Gcf.get_all_fig_managers())
    plot_curves([make_run()], tmp_path / "figure.png")
    assert list(_pylab_helpers.Gcf.get_all_fig_managers()) == kept


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("figure.jpg", "allowed suffixes: .png, .pdf, .svg"),
        ("figure", "allowed suffixes"),
        ("no/figure.png", "does not exist"),
        ("y" * 300 + "/figure.png", "does not exist"),
        ("folder.png", "is a folder"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, name: str, part: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError) as caught:
        plot_matrix([make_run()], tmp_path / name)
    assert part in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_a_failed_write_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clbench.report.plots.write_atomic", refuse)
    with pytest.raises(InputError, match=r"figure\.png.*No space left"):
        plot_matrix([make_run()], tmp_path / "figure.png")
