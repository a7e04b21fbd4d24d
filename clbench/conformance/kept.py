"""Whether the model that a run keeps answers as the run did."""

from __future__ import annotations

from typing import Any

import torch

from clbench import engine
from clbench.engine import KeptModel, Reporter
from clbench.plugins import Plan

# Probabilities may differ by rounding only; answers not at all.
ROUNDING = 1e-4


class _Warnings(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)


def kept_difference(plan: Plan) -> str:
    """Run ``plan``, which keeps its model, and ask that for the test examples; where it differs, empty if nowhere.

    The strategy of the plan must be one that its config.json spells.
    """
    report = _Warnings()
    engine.run(plan, report)
    folder = engine.run_folder(plan.config)
    if not folder.model.exists():
        return next(line for line in report.lines if "no model is kept" in line)
    kept, given = KeptModel(folder.model, torch.device(plan.config.device)), plan.config.setting == "task"
    columns = folder.read_predictions()
    rows = list(zip(*(columns[name] for name in ("task", "index", "prediction", "confidence")), strict=True))
    last = [row for row, after in zip(rows, columns["after_task"], strict=True) if after == len(plan.tasks)]
    for task in plan.tasks:
        answers = kept.answer(kept.kind.inputs_in(task.test), task.name if given else None)
        for name, index, prediction, confidence in last:
            if name != task.name:
                continue
            answer, probability = _stored(answers[index].answer), answers[index].probability
            if answer != prediction or abs(probability - confidence) > ROUNDING:
                was, found = f"{prediction!r} ({confidence:.4f})", f"{answer!r} ({probability:.4f})"
                return f"the kept model says {found} of test {kept.kind.noun} {index} of {name!r}, the run said {was}"
    return ""


def _stored(answer: Any) -> Any:
    """An answer as predictions.parquet has it: tags as one text."""
    return " ".join(answer) if isinstance(answer, list) else answer
