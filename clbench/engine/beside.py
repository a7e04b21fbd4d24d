"""What a run measures beside the accuracy matrix where it is asked to: the earlier ability, the probe's matrix."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, isfinite
from typing import Any

from clbench.data import Example
from clbench.engine.preparation import Prepared
from clbench.engine.state import State
from clbench.errors import RunError
from clbench.results import compute_metrics
from clbench.toolkit import measure_ability, probe_tasks


def measure_beside(prepared: Prepared, state: State, trained: bool, tests: Sequence[Sequence[Example]]) -> None:
    """Add a row of each to the state: what ``tests`` leaves out is not measured, nothing where nothing was trained.

    Raises:
        RunError: the model's answers are no numbers.
    """
    learner, strategy = prepared.learner, prepared.strategy
    if prepared.ability is not None:
        value = measure_ability(prepared.ability, learner, strategy) if trained else None
        if value is not None and not isfinite(value):
            raise RunError(f"the {prepared.ability.name} is no number; try a smaller --lr or --head-lr")
        state.ability.append(value)
    if prepared.config.probe:
        state.probe.append(probe_tasks(learner, strategy, prepared.tasks, tests))


def ability_line(prepared: Prepared, state: State) -> str | None:
    """The last value for a person; None where there is none."""
    test, value = prepared.ability, state.ability[-1] if state.ability else None
    if test is None or value is None:
        return None
    perplexity = f" (perplexity {exp(min(value, 700)):.2f})" if test.unit == "nats" else ""
    return f"{test.name}: {value:.3f} {test.unit}{perplexity}"


def results_beside(prepared: Prepared, state: State) -> dict[str, Any]:
    """What of it stands in result.json."""
    found: dict[str, Any] = {}
    if (test := prepared.ability) is not None:
        told = {"name": test.name, "unit": test.unit, "higher_is_better": test.higher_is_better}
        found["ability"] = {**told, "values": state.ability}
    if prepared.config.probe:
        found |= {"probe_matrix": state.probe, "metrics_probe": compute_metrics(state.probe)}
    return found
