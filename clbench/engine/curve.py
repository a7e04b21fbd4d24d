"""Measures inside a task (``--evaluate-every``): what the tasks learned so far score, while the run stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from clbench.engine.preparation import Prepared
from clbench.engine.state import State
from clbench.learner import Learner
from clbench.rng import generator, seeded_torch
from clbench.strategy import Strategy
from clbench.toolkit import Evaluation, evaluate_all

# Of each task's examples; so many tell a dip of a few percent, and cost little.
MOST_EXAMPLES = 200


def chosen_examples(prepared: Prepared) -> list[list[int]]:
    """Which of each task's test examples are measured inside tasks: all, or MOST_EXAMPLES that the seed draws."""
    chosen = []
    for task, test in zip(prepared.tasks, prepared.tests, strict=True):
        order = torch.randperm(len(test), generator=generator(prepared.config.seed, "curve", task.name))
        chosen.append(sorted(order[:MOST_EXAMPLES].tolist()))
    return chosen


def measure_inside(prepared: Prepared, state: State, position: int, step: int) -> None:
    """Measure the tasks learned so far after ``step`` steps on the task at ``position``."""
    learner = prepared.learner
    seen = range(learner.tasks_seen)
    tests = [
        [test[number] for number in numbers] if task in seen else []
        for task, (test, numbers) in enumerate(zip(prepared.tests, chosen_examples(prepared), strict=True))
    ]
    with learner.clock.measure("eval"), unchanged(learner, prepared.strategy):
        evaluations = evaluate_all(learner, prepared.strategy, tests)
    scores = [evaluation.score if evaluation else None for evaluation in evaluations]
    _add(prepared, state, position, state.steps + step, scores)


def measure_end(prepared: Prepared, state: State, position: int, evaluations: Sequence[Evaluation | None]) -> None:
    """The same examples after the task's last step, from the answers of the matrix's row."""
    scores: list[float | None] = []
    for task, (evaluation, numbers) in enumerate(zip(evaluations, chosen_examples(prepared), strict=True)):
        if evaluation is None or task >= prepared.learner.tasks_seen:
            scores.append(None)
        else:
            labels = [evaluation.labels[number] for number in numbers]
            answers = [evaluation.predictions[number] for number in numbers]
            scores.append(evaluation.kind.score(evaluation.measure, labels, answers))
    _add(prepared, state, position, state.steps, scores)


def _add(prepared: Prepared, state: State, position: int, step: int, scores: Sequence[float | None]) -> None:
    names = [task.name for task in prepared.tasks]
    for name, score in zip(names, scores, strict=True):
        if score is not None:
            row = {"learning": names[position], "step": step, "task": name, "measure": score}
            for column, value in row.items():
                state.curve.setdefault(column, []).append(value)


@contextmanager
def unchanged(learner: Learner, strategy: Strategy) -> Iterator[None]:
    """What is done inside leaves the model, the strategy and torch's random streams as they were.

    A strategy that answers in the model's place may load weights or switch modules for it. Training goes on with what
    it had: its attributes, its model's attributes (modes and active modules among them), weights and what learns.
    """
    modules = [(module, dict(vars(module))) for module in learner.model.modules()]
    members = [(member, dict(vars(member))) for member in _members(strategy)]
    tensors = [*learner.model.parameters(), *learner.model.buffers()]
    learns = [tensor.requires_grad for tensor in tensors]
    kept = [tensor.detach().clone() for tensor in tensors] if strategy.answers else []
    try:
        with seeded_torch(learner.device, learner.seed, "curve"):
            yield
    finally:
        for thing, attributes in (*modules, *members):
            vars(thing).clear()
            vars(thing).update(attributes)
        for tensor, before in zip(tensors, learns, strict=True):
            tensor.requires_grad_(before)
        with torch.no_grad():
            for tensor, value in zip(tensors, kept, strict=bool(kept)):
                tensor.copy_(value)


def _members(strategy: Strategy) -> list[Strategy]:
    """The strategy and those that it is made of."""
    inner = [member for _, member in getattr(strategy, "members", ())]
    return [strategy, *(each for member in inner for each in _members(member))]
