"""What a finished run comes to: the content of result.json, its costs, and the profile of where the time went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clbench.engine.beside import results_beside
from clbench.engine.checkpoint import tensor_bytes
from clbench.engine.learning_warnings import warning_texts
from clbench.engine.preparation import Prepared, parameter_bytes
from clbench.engine.state import State
from clbench.results import compute_metrics, costs_depend_on, forgetting_matrix

# Purposes that no loop of any kind could do without; the rest of a profile is overhead.
NEEDED = ("train/forward", "train/backward", "train/optimizer", "eval/forward")
# What a strategy does in its hooks is the price of the method.
STRATEGY = ("train/strategy", "fisher")


def make_result(prepared: Prepared, state: State, peak_memory: int) -> dict[str, Any]:
    """The content of result.json.

    Args:
        prepared: the run's fixed parts.
        state: its end.
        peak_memory: in bytes.
    """
    config = prepared.config
    return {
        "schema_version": 1,
        "status": "complete",
        "scenario": config.scenario,
        "setting": config.setting,
        "strategy": config.strategy,
        "model": config.model,
        "seed": config.seed,
        "tasks": [task.name for task in prepared.tasks],
        "limited": config.limit is not None,
        "micro_batch_size": state.micro_batch_size,
        "skipped_steps": sum(state.skipped_steps.values()),
        "hardware": _ran_on(state),
        **measures_of(prepared),
        "accuracy_matrix": state.accuracy,
        "forgetting_matrix": forgetting_matrix(state.accuracy),
        "metrics": compute_metrics(state.accuracy),
        **_beside(prepared, state),
        **results_beside(prepared, state),
        **warning_texts(state.warnings),
        **_model_warnings(state),
        "cost": _cost(prepared, state, peak_memory),
    }


def measures_of(prepared: Prepared) -> dict[str, Any]:
    """What a cell of the matrix is: one measure, or "mixed" and each task's."""
    measures = prepared.learner.measures
    if len(set(measures)) == 1:
        return {"measure": measures[0]}
    return {"measure": "mixed", "measures": dict(zip([t.name for t in prepared.tasks], measures, strict=True))}


def _beside(prepared: Prepared, state: State) -> dict[str, Any]:
    """The matrix of the kind's second measure, and of macro-F1 the metrics, too."""
    name = prepared.learner.kind.beside
    found: dict[str, Any] = {f"{name}_matrix": state.beside} if name else {}
    return {**found, "metrics_f1": compute_metrics(state.beside)} if name == "macro_f1" else found


def _model_warnings(state: State) -> dict[str, list[str]]:
    """Why a model that was asked for is not there."""
    texts = [warning["text"] for warning in state.warnings if warning["event"] == "no_model"]
    return {"model_warnings": texts} if texts else {}


def _ran_on(state: State) -> list[dict[str, Any]]:
    """What the run computed on: an entry, or several where it went on elsewhere."""
    entries = [costs_depend_on(part) for part in state.parts]
    return [entry for number, entry in enumerate(entries) if entry not in entries[:number]]


def _cost(prepared: Prepared, state: State, peak_memory: int) -> dict[str, Any]:
    seconds = prepared.learner.clock.read()
    # Below 0 where a strategy has quantized the model.
    added = max(0, parameter_bytes(prepared.learner.model) - prepared.model_bytes)
    cost: dict[str, Any] = {
        "train_seconds": _total(seconds, "train"),
        "fisher_seconds": _total(seconds, "fisher"),
        "eval_seconds": _total(seconds, "eval"),
        "wall_seconds": seconds["wall"],
        "peak_memory_bytes": peak_memory,
        "stored_bytes": tensor_bytes(prepared.strategy.state_dict()) + added,
        "trainable_parameters": state.trainable_parameters,
        "examples_seen": state.examples_seen,
    }
    return {**cost, "profile": seconds} if prepared.config.profile else cost


def _total(seconds: Mapping[str, float], purpose: str) -> float:
    """The seconds of a purpose and of its parts, such as "train/forward"."""
    return sum(value for key, value in seconds.items() if key == purpose or key.startswith(f"{purpose}/"))


def overhead(seconds: Mapping[str, float]) -> float:
    """The share of the wall time that went neither into the model's passes and steps nor into the strategy."""
    return 1 - sum(seconds.get(key, 0.0) for key in (*NEEDED, *STRATEGY)) / seconds["wall"]


def profile_lines(seconds: Mapping[str, float]) -> list[str]:
    """A profile for people: each purpose with its seconds and its share of the wall time."""
    wall = seconds["wall"]
    rows = sorted(((key, value) for key, value in seconds.items() if key != "wall"), key=lambda row: -row[1])
    rows.append(("other", wall - sum(value for _, value in rows)))
    width = max(len(key) for key, _ in rows)
    lines = [f"{key:<{width}}  {value:8.2f} s  {value / wall:6.1%}" for key, value in rows]
    apart = "outside forward, backward, optimizer, evaluation forward and the strategy's own work"
    return ["profile", *lines, f"{'wall':<{width}}  {wall:8.2f} s", f"{overhead(seconds):.1%} {apart}"]
