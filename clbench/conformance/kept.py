"""Whether the model that a run keeps answers as the run did."""

from __future__ import annotations

import torch

from clbench import engine
from clbench.engine import KeptModel, Reporter
from clbench.kinds import texts_in
from clbench.plugins import Plan

# Probabilities may differ by rounding only; answers not at all.
ROUNDING = 1e-4


class _Warnings(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)


def kept_difference(plan: Plan) -> str:
    """Run ``plan``, which keeps its model, and ask that for the test texts; where it differs, empty where it does not.

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
        answers = kept.answer(texts_in(task.test), task.name if given else None)
        for name, index, prediction, confidence in last:
            if name == task.name and (
                (answer := answers[index]).label != prediction or abs(answer.probability - confidence) > ROUNDING
            ):
                was, found = f"{prediction!r} ({confidence:.4f})", f"{answer.label!r} ({answer.probability:.4f})"
                return f"the kept model says {found} of test text {index} of {name!r}, the run said {was}"
    return ""
