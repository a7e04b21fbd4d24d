"""The figure of confusion matrices: one panel a task, or one for all where answers may be labels of any task."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING, NamedTuple

from clbench.errors import InputError
from clbench.report.heatmaps import ink
from clbench.report.mistake_records import RunErrors, TaskErrors
from clbench.report.mistakes_text import answer_name, run_title
from clbench.report.plot_series import GREY, figure_names
from clbench.text import fixed, natural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

# Lengths are in inches, letters in points.
CELL, LARGEST_CELL, SMALLEST_WITH_NUMBER = 0.34, 0.6, 0.24
LARGEST_MATRIX, LARGEST_FIGURE, SMALLEST_FIGURE = 13.0, 40.0, 4.0
LETTERS, SMALLEST_LETTERS, TITLE_LETTERS = 8.0, 5.0, 9.0
TOP, BOTTOM, BAR, TITLE, GAP = 0.45, 0.45, 0.95, 0.35, 0.25
LONGEST_LABEL, LONGEST_TITLE = 30, 110
INK, PALE_GREY = "#404040", "#C4C4C4"


class Panel(NamedTuple):
    """One matrix: counts of examples by label (rows) and answer (columns).

    ``right`` is each row's column of right answers; ``label_tasks`` and ``answer_tasks`` say which belong together.
    """

    title: str
    labels: list[str]
    answers: list[str]
    counts: list[list[int]]
    right: list[int]
    label_tasks: list[str]
    answer_tasks: list[str | None]


class Frame(NamedTuple):
    """How a panel is laid out: the size of its cells and letters, the room of its names, and its own."""

    cell: float
    letters: float
    left: float
    below: float
    width: float
    height: float


def confusion_figure(errors: RunErrors) -> Figure:
    """Counts of examples by label (rows) and answer (columns), coloured by their share of the label's examples.

    InputError for more tasks than a figure has room for, and for written answers.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    if written := [task for task in errors.tasks if not task.confusion.labels]:
        raise InputError(
            f"{written[0].task!r} has written answers, which have no confusions; allowed: tasks with labels or tags; "
            f"clbench errors {errors.run} shows the worst answers"
        )
    panels = [_joined(errors)] if errors.setting == "class" else [_panel(task) for task in errors.tasks]
    frames = [_frame(panel) for panel in panels]
    lines = _lines(frames)
    title = figure_names([run_title(errors)], LONGEST_TITLE)[0]
    content = 0.1 + max(sum(frames[i].width for i in line) for line in lines)
    width = max(content + BAR, _text_width(title, TITLE_LETTERS) + 0.4, SMALLEST_FIGURE)
    height = sum(max(frames[i].height for i in line) for line in lines) + TOP + BOTTOM
    if max(width, height) > LARGEST_FIGURE:
        raise InputError(f"{len(errors.tasks)} tasks have no room in one plot; give some of them with --task")
    figure = Figure(figsize=(width, height))
    colours = ScalarMappable(cmap="Blues")
    colours.set_clim(0, 1)
    top = height - TOP
    for line in lines:
        left = 0.1
        for i in line:
            down, across = len(panels[i].labels) * frames[i].cell, len(panels[i].answers) * frames[i].cell
            box = (left + frames[i].left, top - TITLE - down, across, down)
            axis = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
            _draw(axis, panels[i], frames[i], colours)
            left += frames[i].width
        top -= max(frames[i].height for i in line)
    bar_height = min(3.0, 0.7 * (height - TOP - BOTTOM))
    place = ((content + 0.1) / width, (height - TOP - TITLE - bar_height) / height, 0.15 / width, bar_height / height)
    bar = figure.colorbar(colours, cax=figure.add_axes(place))
    bar.set_label("share of the label's examples", fontsize=LETTERS)
    bar.ax.tick_params(labelsize=LETTERS)
    figure.text(0.1 / width, 1 - 0.15 / height, title, fontsize=TITLE_LETTERS, va="top")
    numbers = "; numbers: examples" if any(frame.cell >= SMALLEST_WITH_NUMBER for frame in frames) else ""
    caption = f"rows: label; columns: answer; framed: right answers{numbers}"
    figure.text(0.1 / width, 0.12 / height, caption, fontsize=LETTERS)
    return figure


def _panel(task: TaskErrors) -> Panel:
    own = task.confusion
    answers = [answer_name(*pair, task.task) for pair in zip(own.answers, own.answer_tasks, strict=True)]
    count = len(own.labels)
    title = f"{task.task}: {fixed(1 - task.wrong / task.examples, 3)} right"
    return Panel(title, own.labels, answers, own.counts, list(range(count)), [task.task] * count, own.answer_tasks)


def _joined(errors: RunErrors) -> Panel:
    """All tasks in one matrix; each label is one task's."""
    matrices = [task.confusion for task in errors.tasks]
    order = {name: number for number, name in enumerate(errors.task_names)}
    pairs = {pair for own in matrices for pair in zip(own.answers, own.answer_tasks, strict=True)}
    columns = sorted(pairs, key=lambda pair: (order.get(pair[1] or "", len(order)), natural(pair[0])))
    place = {label: number for number, (label, _) in enumerate(columns)}
    counts = []
    for own in matrices:
        for line in own.counts:
            found = dict(zip(own.answers, line, strict=True))
            counts.append([found.get(label, 0) for label in place])
    labels = [label for own in matrices for label in own.labels]
    examples, wrong = (sum(getattr(task, name) for task in errors.tasks) for name in ("examples", "wrong"))
    name = errors.tasks[0].task if len(errors.tasks) == 1 else f"{len(errors.tasks)} tasks"
    title = f"{name}: {fixed(1 - wrong / examples, 3)} right"
    label_tasks = [task.task for task in errors.tasks for _ in task.confusion.labels]
    right = [place[label] for label in labels]
    return Panel(title, labels, list(place), counts, right, label_tasks, [task for _, task in columns])


def _frame(panel: Panel) -> Frame:
    rows, columns = len(panel.labels), len(panel.answers)
    cell = min(LARGEST_CELL, max(CELL, 2.0 / columns), LARGEST_MATRIX / max(rows, columns))
    letters = min(LETTERS, max(SMALLEST_LETTERS, 72 * 0.8 * cell))
    answers = _widest(panel.answers, letters)
    # Slanted by 45 degrees, the first column's name reaches to the left of its cell.
    left = max(_widest(panel.labels, letters) + 0.15, 0.71 * answers - cell / 2 + 0.1)
    several = len(set(panel.label_tasks)) > 1
    right = GAP + (_widest(panel.label_tasks, letters) + 0.05 if several else 0)
    below = 0.71 * answers + 0.25
    width = max(left + columns * cell + right, _text_width(panel.title, TITLE_LETTERS) + left + GAP)
    return Frame(cell, letters, left, below, width, TITLE + rows * cell + below + GAP)


def _lines(frames: Sequence[Frame]) -> list[list[int]]:
    """The numbers of the panels in lines that make a picture somewhat wider than high."""
    area = sum(frame.width * frame.height for frame in frames)
    room = max(1.3 * sqrt(area), *(frame.width for frame in frames))
    lines: list[list[int]] = [[]]
    for number, frame in enumerate(frames):
        if lines[-1] and sum(frames[i].width for i in lines[-1]) + frame.width > room:
            lines.append([])
        lines[-1].append(number)
    return lines


def _draw(axis: Axes, panel: Panel, frame: Frame, colours: ScalarMappable) -> None:
    from matplotlib.patches import Rectangle

    shares = [[count / sum(line) for count in line] for line in panel.counts]
    axis.imshow(shares, cmap=colours.cmap, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for i, line in enumerate(panel.counts):
        axis.add_patch(
            Rectangle((panel.right[i] - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=0.9, zorder=3)
        )
        for j, count in enumerate(line):
            if count and frame.cell >= SMALLEST_WITH_NUMBER:
                size = min(frame.letters, 72 * 0.85 * frame.cell / (0.62 * len(str(count))))
                colour = ink(colours.cmap(shares[i][j]))
                axis.text(j, i, str(count), ha="center", va="center", fontsize=size, color=colour)
    step = ceil(SMALLEST_LETTERS / (72 * 0.8 * frame.cell))  # where cells are too small, some have no name
    for ticks, names in ((axis.set_xticks, panel.answers), (axis.set_yticks, panel.labels)):
        ticks(range(0, len(names), step), _shown(names)[::step], fontsize=frame.letters)
    for name in axis.get_xticklabels():
        name.set(rotation=45, ha="right", rotation_mode="anchor")
    axis.tick_params(length=0)
    axis.set_title(figure_names([panel.title], LONGEST_TITLE)[0], fontsize=TITLE_LETTERS, loc="left")
    for spine in axis.spines.values():
        spine.set_color(GREY)
    _part_tasks(axis, panel, frame)


def _part_tasks(axis: Axes, panel: Panel, frame: Frame) -> None:
    """Lines between the labels of different tasks, and the tasks' names at the right where there are several."""
    for line, tasks in ((axis.axhline, panel.label_tasks), (axis.axvline, panel.answer_tasks)):
        for place in range(1, len(tasks)):
            if tasks[place] != tasks[place - 1]:
                line(place - 0.5, color=PALE_GREY, linewidth=0.8)
    names = list(dict.fromkeys(panel.label_tasks))
    for name, shown in zip(names, _shown(names), strict=True):
        rows = [i for i, task in enumerate(panel.label_tasks) if task == name]
        if len(names) > 1 and 72 * frame.cell * len(rows) >= frame.letters:
            right, middle = len(panel.answers) - 0.5 + 0.05 / frame.cell, (rows[0] + rows[-1]) / 2
            axis.text(right, middle, shown, va="center", fontsize=frame.letters, color=GREY)


def _shown(names: Sequence[str]) -> list[str]:
    return figure_names(names, LONGEST_LABEL)


def _widest(names: Sequence[str], letters: float) -> float:
    return max(_text_width(name, letters) for name in _shown(names))


def _text_width(text: str, letters: float) -> float:
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=letters).get_extents().width) / 72
