"""A run's wrong answers as text for people, and as JSON."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict

from clbench.errors import unknown
from clbench.kinds import ANSWERS, TAGS, WRITTEN
from clbench.report.mistake_records import Confusion, Mistake, RunErrors, Score, TaskErrors
from clbench.text import DASH, clean, fixed, shorten, text_table

LONGEST_LABEL = 40
NARROWEST = 40
MOST_TASKS, MOST_LOSSES, MOST_CONFUSIONS = 3, 5, 10
TEXT_LINES = 3  # of a text on a terminal
INDENT, CUT = "    ", " ..."


def render_errors(errors: RunErrors, format: str = "table", width: int | None = None) -> str:
    """``errors`` as a "table", in ``width`` characters if given, or as "json"."""
    if format == "json":
        return json.dumps(asdict(errors), indent=2, allow_nan=False)
    if format != "table":
        raise unknown("format", format, ("table", "json"))
    return "\n\n".join([_summary(errors, width), *(_task(task, errors.after, width) for task in errors.tasks)])


def run_title(errors: RunErrors) -> str:
    """Which run it is, and when the answers were given."""
    told = [f"{errors.strategy}: {errors.scenario}", f"{errors.setting} setting", errors.model, f"seed {errors.seed}"]
    told += ["on dev"] if errors.split == "dev" else []
    told += ["limited to part of the data"] if errors.limited else []
    count = len(errors.task_names)
    last = f"after {errors.task_names[errors.after - 1]} ({errors.after} of {count} tasks)"
    return ", ".join([*told, last if errors.after else "before training"])


def answer_name(label: str, answer_task: str | None, task: str) -> str:
    """A label that examples of ``task`` were answered with, and whose it is where it is not its own."""
    whose = "another task's" if answer_task is None else answer_task
    return label if answer_task == task else f"{label} ({whose})"


def _summary(errors: RunErrors, width: int | None) -> str:
    abroad = any(task.other_tasks for task in errors.tasks)
    measures = {task.measure for task in errors.tasks}
    measure = measures.pop() if len(measures) == 1 else "score"
    units = "words" if all(ANSWERS[task.measure] == TAGS for task in errors.tasks) else "examples"
    header = ["task", units, "wrong", f"{measure}\nwhen\nlearned", measure]
    rows = []
    for task in errors.tasks:
        learned = DASH if task.accuracy_when_learned is None else fixed(task.accuracy_when_learned, 3)
        name = task.task if measure != "score" else f"{task.task}, {task.measure}"
        row = [_name(name, width), str(task.examples), str(task.wrong), learned, fixed(task.accuracy, 3)]
        rows.append([*row, str(sum(each.count for each in task.other_tasks))] if abroad else row)
    notes = [f"note: {note}" for note in errors.notes]
    if errors.unmeasured:
        notes.append(f"note: not measured then: {', '.join(errors.unmeasured)}")
    table = text_table([*header, "another\ntask's\nlabel"] if abroad else header, rows)
    lines = [line for note in notes for line in _wrapped(note, width)]
    return "\n".join([*_wrapped(run_title(errors), width), "", table, *lines])


def _task(task: TaskErrors, after: int, width: int | None) -> str:
    places = [f"{each.count} with labels of {each.task}" for each in task.other_tasks[:MOST_TASKS]]
    more = len(task.other_tasks) - MOST_TASKS
    places += [f"others with labels of {more} more tasks"] if more > 0 else []
    unit = {TAGS: " words", WRITTEN: " answers"}.get(ANSWERS[task.measure], "")
    title = f"== {task.task}: {task.wrong} of {task.examples}{unit} wrong{''.join(f', {place}' for place in places)}"
    if ANSWERS[task.measure] == WRITTEN:
        mistakes = [_mistakes(task, width)] if task.mistakes else []
        return "\n\n".join(["\n".join(_wrapped(title, width)), *mistakes])
    parts = [_scores(task, width), _confusion(task.confusion, task.task, width), _losses(task, after, width)]
    return "\n\n".join(
        ["\n".join(_wrapped(title, width)), *parts, *([_mistakes(task, width)] if task.mistakes else [])]
    )


def _scores(task: TaskErrors, width: int | None) -> str:
    def row(name: str, examples: int, score: Score) -> list[str]:
        return [name, str(examples), *(fixed(value, 3) for value in (score.precision, score.recall, score.f1))]

    rows = [row(_name(each.label, width), each.examples, each) for each in task.labels]
    for name, mean in (("macro average", task.macro), ("weighted average", task.weighted)):
        rows += [row(name, task.examples, mean)] if mean is not None else []
    head = ["tag", "words"] if ANSWERS[task.measure] == TAGS else ["label", "examples"]
    return text_table([*head, "precision", "recall", "F1"], rows)


def _confusion(own: Confusion, task: str, width: int | None) -> str:
    """The matrix where it has room, else the most frequent confusions."""
    from rich.cells import cell_len

    rows = [
        [f"{i} {_name(label, width)}", *(str(count) if count else "." for count in counts)]
        for i, (label, counts) in enumerate(zip(own.labels, own.counts, strict=True), start=1)
    ]
    table = text_table(["label \\ answer", *(str(j) for j in range(1, len(own.answers) + 1))], rows)
    if width is not None and max(map(cell_len, table.split("\n"))) > width:
        return _largest_confusions(own, task, width)
    others = list(zip(own.answers, own.answer_tasks, strict=True))[len(own.labels) :]
    names = [f"{j}: {answer_name(*other, task)}" for j, other in enumerate(others, start=len(own.labels) + 1)]
    return "\n".join([table, *_wrapped(", ".join(names), width)])


def _largest_confusions(own: Confusion, task: str, width: int) -> str:
    answers = [answer_name(*answer, task) for answer in zip(own.answers, own.answer_tasks, strict=True)]
    cells = [
        (count, label, answers[j])
        for i, label in enumerate(own.labels)
        for j, count in enumerate(own.counts[i])
        if count and i != j
    ]
    cells.sort(key=lambda cell: -cell[0])
    rows = [[_name(label, width), _name(answer, width), str(count)] for count, label, answer in cells]
    left_out = f"{len(cells)} kinds of confusion; --wide, --format json and `clbench plot confusion` show all"
    table = text_table(["label", "answered", "examples"], rows[:MOST_CONFUSIONS])
    return "\n".join([table, *_wrapped(left_out, width)])


def _losses(task: TaskErrors, after: int, width: int | None) -> str:
    if task.lost is None:
        reasons = {True: "the task is still to come", False: "the task was not measured when it was learned"}
        reason = "the task has just been learned" if task.position == after else reasons[task.position > after]
        return f"nothing lost to tell of: {reason}"
    if not task.lost:
        return "no label's recall is lower than when the task was learned"
    shown = task.lost[:MOST_LOSSES]
    rows = [
        [_name(loss.label, width), fixed(loss.recall_when_learned, 3), fixed(loss.recall, 3), str(loss.lost)]
        for loss in shown
    ]
    header = ["lost most since it was learned", "recall\nthen", "recall\nnow", "right then,\nwrong now"]
    *head, rule = text_table(header, rows).split("\n")[:3]
    lines = [*head, rule]
    for loss, line in zip(shown, text_table(header, rows).split("\n")[3:], strict=True):
        went = ", ".join(f"{to.count} {answer_name(to.label, to.task, task.task)}" for to in loss.went)
        lines += [line, *_wrapped(f"now {went}", width, INDENT)]
    more = len(task.lost) - MOST_LOSSES
    return "\n".join([*lines, *([f"{more} more labels lost, too: --format json"] if more > 0 else [])])


def _mistakes(task: TaskErrors, width: int | None) -> str:
    lines = ["worst answers" if ANSWERS[task.measure] == WRITTEN else "most confident mistakes"]
    for each in task.mistakes:
        lines += _wrapped(f"{fixed(each.confidence, 3)}  {_mistake(each, task)}", width)
        if each.text is not None:
            lines += _wrapped(each.text, width, INDENT, TEXT_LINES)
    return "\n".join(lines)


def _mistake(each: Mistake, task: TaskErrors) -> str:
    if ANSWERS[task.measure] == WRITTEN:
        return f"example {each.index}: {each.label!r}, answered {each.answer!r}"
    place = "" if each.word is None else f", word {each.word}"
    return (
        f"example {each.index}{place}: {each.label}, answered {answer_name(each.answer, each.answer_task, task.task)}"
    )


def _name(name: str, width: int | None) -> str:
    return clean(shorten(name, LONGEST_LABEL if width is None else max(16, width // 3)))


def _wrapped(line: str, width: int | None, indent: str = "", most: int | None = None) -> list[str]:
    """``line`` in lines of at most ``width`` characters, at most ``most`` of them; one line where there is no width."""
    from rich.cells import cell_len, chop_cells

    line = clean(" ".join(line.split()))
    if width is None:
        return [f"{indent}{line}"] if line else []
    room = max(width, NARROWEST) - len(indent)
    if cell_len(line) == len(line):
        return textwrap.wrap(
            line,
            room + len(indent),
            initial_indent=indent,
            subsequent_indent=indent or "  ",
            max_lines=most,
            placeholder=CUT,
        )
    pieces = chop_cells(line, room - len(CUT))  # characters of two cells: their languages have no blanks to break at
    lines = [f"{indent}{piece}" for piece in pieces[:most]]
    return lines if len(lines) == len(pieces) else [*lines[:-1], lines[-1] + CUT]
