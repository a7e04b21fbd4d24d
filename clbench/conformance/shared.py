"""Whether a strategy is the same where it takes the first task over from a run that learned it plainly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from clbench import engine
from clbench.conformance.checks import seed_everything
from clbench.conformance.fingerprints import state_difference
from clbench.conformance.trials import Record, Trials, difference, finish
from clbench.engine import idle_in_first_task, load_checkpoint
from clbench.strategy import Stack


def first_task_difference(trials: Trials, **options: Any) -> str:
    """How a run that takes over what ``naive`` learned departs from one that learns for itself; empty for not at all.

    Args:
        trials: of the strategy.
        options: of the runs.
    """
    if not _claims(trials.strategy):
        return ""
    shared = trials.folder / f"shared-{next(trials.numbers)}"
    shared.mkdir()
    _run(trials, "naive", shared, **options)
    taken, one = _run(trials, "", shared, **options)
    alone, other = _run(trials, "", None, **options)
    found = difference(alone, taken) or state_difference(other, one, "the checkpoint")
    return f"with the first task taken over from naive {found}" if found else ""


def _claims(strategy: Stack) -> bool:
    """Whether it has hooks that are said to do nothing in the first task, and none that may do something."""
    claims = any(type(member).idle_in_first_task for _, member in strategy.members)
    return claims and idle_in_first_task(strategy) and not strategy.answers and not strategy.changes_examples


def _run(trials: Trials, expression: str, shared: Path | None, **options: Any) -> tuple[Record, dict[str, Any]]:
    """What a run gave, and the weights and the strategy's state at its end."""
    plan = replace(trials.plan(expression=expression, keep_checkpoints=True, **options), shared=shared)
    seed_everything(0)
    record = finish(plan, Record())
    content = load_checkpoint(engine.run_folder(plan.config).checkpoint, plan.config.sha256) or {}
    return record, {key: content[key] for key in ("model", "strategy") if key in content}
