"""What one run got wrong, task by task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from clbench.errors import InputError, unknown
from clbench.kinds import ANSWERS, TAGS, WRITTEN
from clbench.report.answer_kinds import marked_word, tagged_words, word_mistakes, written_mistakes
from clbench.report.mistake_records import Confusion, Mistake, RunErrors, TaskErrors
from clbench.report.task_mistakes import (
    Owner,
    confident_mistakes,
    confusion,
    label_owner,
    label_scores,
    losses,
    other_tasks,
    tasks_of_labels,
)
from clbench.results import Answers, Matrix, Run, measure_of, read_answers

MOST_MISTAKES = 5  # of each task


def find_errors(run: Run, tasks: Sequence[str] = (), after: int | None = None) -> RunErrors:
    """What ``run`` got wrong, without the texts.

    Args:
        run: a finished run.
        tasks: which to look at; all that were measured then where empty.
        after: how many tasks were learned; the end where None.

    Raises:
        InputError: there is no such task, it was not measured then, predictions.parquet is broken, or answers are
            of a kind of a person's own.
    """
    result = run.result
    names: list[str] = result["tasks"]
    for name in tasks:
        if name not in names:
            raise unknown("task", name, names)
    after = _checked_time(after, result["accuracy_matrix"], names, tasks)
    measured = [name for j, name in enumerate(names) if result["accuracy_matrix"][after][j] is not None]
    asked = [name for name in measured if not tasks or name in tasks]
    # Where the task is not given, an answer may be any task's label.
    now = {(after, name) for name in (asked if result["setting"] == "task" else measured)}
    learned = {(position, name) for position, name in enumerate(names, start=1) if name in asked and position < after}
    measures = {name: measure_of(run, name) for name in names}
    if others := sorted(set(measures.values()) - set(ANSWERS)):
        raise InputError(
            f"{run.folder}: mistakes are told of labels, tags and written answers, and {others[0]!r} measures others; "
            f"allowed: runs measured by {', '.join(ANSWERS)}"
        )
    answers = read_answers(run, now | learned)
    words = {cell: tagged_words(own) for cell, own in answers.items() if ANSWERS[measures[cell[1]]] == TAGS}
    of_labels = tasks_of_labels({**answers, **words})
    return RunErrors(
        run=str(run.folder),
        **{key: result[key] for key in ("scenario", "setting", "strategy", "model", "seed", "limited")},
        split=run.config.get("eval_split", "test"),
        after=after,
        task_names=names,
        tasks=[
            _written_errors(name, measures[name], result, after, answers[after, name])
            if ANSWERS[measures[name]] == WRITTEN
            else _task_errors(
                name,
                measures[name],
                result,
                after,
                {**answers, **words},
                label_owner(name, result["setting"], of_labels),
            )
            for name in asked
        ],
        unmeasured=[] if tasks else [name for name in names if name not in measured],
        notes=[],
    )


def with_texts(errors: RunErrors, texts: Mapping[str, Sequence[str]], notes: Iterable[str]) -> RunErrors:
    """``errors`` with the texts of its mistakes.

    Args:
        errors: without them.
        texts: of the split that was evaluated, by task; tasks that are missing stay without.
        notes: what there is to say of those.
    """
    tasks = [
        replace(task, mistakes=[_with_text(each, texts[task.task][each.index]) for each in task.mistakes])
        if task.task in texts
        else task
        for task in errors.tasks
    ]
    return replace(errors, tasks=tasks, notes=[*errors.notes, *notes])


def _with_text(mistake: Mistake, text: str) -> Mistake:
    return replace(mistake, text=text if mistake.word is None else marked_word(text, mistake.word))


def _checked_time(after: int | None, matrix: Matrix, names: Sequence[str], tasks: Sequence[str]) -> int:
    """``after``, by default the last time at which the tasks asked for, or any, were measured."""
    columns = [names.index(name) for name in tasks]
    allowed = [
        i
        for i, row in enumerate(matrix)
        if (all(row[j] is not None for j in columns) if columns else any(cell is not None for cell in row))
    ]
    whose = f" for {', '.join(map(repr, tasks))}" if tasks else ""
    if not allowed:
        raise InputError(f"there is no time with predictions{whose}; give fewer tasks")
    if after is not None and after not in allowed:
        before = " (0 is before training)" if 0 in allowed else ""
        raise InputError(f"--after = {after} is not allowed{whose}; allowed: {_ranges(allowed)} tasks learned{before}")
    return allowed[-1] if after is None else after


def _ranges(numbers: Sequence[int]) -> str:
    """Rising numbers as a person writes them, such as "0, 3 to 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _task_errors(
    task: str,
    measure: str,
    result: Mapping[str, Any],
    after: int,
    answers: Mapping[tuple[int, str], Answers],
    owner: Owner,
) -> TaskErrors:
    names, matrix = result["tasks"], result["accuracy_matrix"]
    position = names.index(task)
    now, then = answers[after, task], answers.get((position + 1, task))
    scores, macro, weighted = label_scores(now)
    return TaskErrors(
        task=task,
        position=position + 1,
        measure=measure,
        examples=len(now.labels),
        wrong=sum(label != answer for label, answer in zip(now.labels, now.predictions, strict=True)),
        accuracy=matrix[after][position],
        accuracy_when_learned=matrix[position + 1][position] if position < after else None,
        labels=scores,
        macro=macro,
        weighted=weighted,
        confusion=confusion(now, owner, names),
        other_tasks=other_tasks(task, now, owner),
        lost=None if then is None or position + 1 == after else losses(then, now, owner),
        mistakes=(word_mistakes if ANSWERS[measure] == TAGS else confident_mistakes)(now, owner, MOST_MISTAKES),
    )


def _written_errors(task: str, measure: str, result: Mapping[str, Any], after: int, answers: Answers) -> TaskErrors:
    names, matrix = result["tasks"], result["accuracy_matrix"]
    position = names.index(task)
    return TaskErrors(
        task=task,
        position=position + 1,
        measure=measure,
        examples=len(answers.labels),
        wrong=sum(a.strip() != b.strip() for a, b in zip(answers.labels, answers.predictions, strict=True)),
        accuracy=matrix[after][position],
        accuracy_when_learned=matrix[position + 1][position] if position < after else None,
        labels=[],
        macro=None,
        weighted=None,
        confusion=Confusion([], [], [], []),
        other_tasks=[],
        lost=None,
        mistakes=written_mistakes(answers, measure, task, MOST_MISTAKES),
    )
