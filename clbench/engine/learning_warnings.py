"""What a row of the matrix warns of: a task that was not learned, and tasks that are being forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clbench.toolkit import Evaluation

# A task that falls below this share of its accuracy right after learning raises a forgetting warning.
FORGETTING_THRESHOLD = 0.7


def row_warnings(
    tasks: Sequence[str],
    learned: Sequence[float | None],
    evaluations: Sequence[Evaluation | None],
    row: int,
    advice: str,
) -> list[dict[str, Any]]:
    """The warnings of a row, as events of the log with a ``text``.

    Args:
        tasks: the names of all.
        learned: what each task before the last trained one scored right after it was learned.
        evaluations: of each task, after ``row`` tasks; the last trained one is not learned where always the same
            answer does as well.
        row: how many tasks were trained on, 0 before training.
        advice: what may help a task that was not learned.
    """
    found = []
    last = evaluations[row - 1] if row else None
    chance = last.kind.chance(last.measure, last.labels) if last else None
    if last is not None and chance is not None and last.score <= chance:
        text = f"{tasks[row - 1]} was not learned: {last.measure} {last.score:.3f}, {chance:.3f} with always the same "
        text += f"answer; {advice}"
        found.append({"event": "not_learned", "after_task": row, "task": tasks[row - 1], "text": text})
    for task, before, evaluation in zip(tasks, learned, evaluations, strict=False):
        if evaluation is not None and before is not None and evaluation.score < FORGETTING_THRESHOLD * before:
            text = f"{task} is being forgotten: {evaluation.measure} {evaluation.score:.3f} after {tasks[row - 1]}, "
            text += f"{before:.3f} right after learning"
            found.append({"event": "forgetting", "after_task": row, "task": task, "text": text})
    return found


def warning_texts(warnings: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """The texts as result.json has them."""
    return {
        key: [warning["text"] for warning in warnings if warning["event"] == event]
        for key, event in (("forgetting_warnings", "forgetting"), ("learning_warnings", "not_learned"))
    }
