"""Compares what a folder answers with what the strategy of the run does, on a few training examples of each task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from clbench.data import Batch
from clbench.engine.kept_strategy import load_strategy
from clbench.engine.model_facts import candidates
from clbench.engine.preparation import Prepared
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.models import PlainModel, read_deployment

# Examples of each task.
PROBES = 4
# In fp32 their probabilities may differ by rounding only, and so may the logarithms, which tell what is almost certain.
ROUNDING, LOG_ROUNDING, LEAST_LOG = 1e-5, 1e-3, -100.0


@contextmanager
def exact_answers(prepared: Prepared) -> Iterator[None]:
    """Inside, the model is in eval mode and computes in fp32, so that a comparison sees rounding only.

    With frozen weights in bf16 it goes on computing in bf16, where these are the same weights as those of a folder.
    """
    learner, precision = prepared.learner, prepared.learner.precision
    learner.model.eval()
    if prepared.config.frozen_precision == "fp32":
        learner.precision = "fp32"
    try:
        with torch.random.fork_rng():  # loading draws weights that are replaced at once
            yield
    finally:
        learner.precision = precision


@torch.inference_mode()
def log_probabilities(prepared: Prepared, task: int, given: int | None) -> Tensor:
    """What the strategy answers to a task's probes (answers, candidates), asked with the task's id or without."""
    batch = _probes(prepared, task)
    strategy, learner = prepared.strategy, prepared.learner
    logits = strategy.predict(learner, batch, given) if strategy.answers else None
    columns = candidates(prepared, task) if given is None else list(learner.labels.columns[given])
    return _answers(learner, learner.logits(batch) if logits is None else logits, batch, columns)


def answers_alike(prepared: Prepared, folder: Path, expected: dict[int, Tensor]) -> bool:
    """Whether the plain model in ``folder`` gives the expected probabilities to the tasks' probes."""
    described = read_deployment(folder).model_copy(update={"precision": prepared.learner.precision})
    try:
        plain = PlainModel(folder, described, prepared.learner.device)
    except InputError:
        return False
    for task, wanted in expected.items():
        own = prepared.config.setting == "task" or described.task is not None
        columns = list(prepared.learner.labels.columns[task]) if own else candidates(prepared, task)
        batch = _probes(prepared, task)
        if not _equal(_answers(prepared.learner, plain.logits(batch), batch, columns), wanted):
            return False
    return True


def why_unusable(prepared: Prepared, folder: Path, expected: dict[int, Tensor]) -> str:
    """Why the strategy in ``folder`` does not answer as the one of the run; empty where it does."""
    if not prepared.strategy.resumable:
        return f"the state of {prepared.config.strategy} cannot be saved"
    described = read_deployment(folder).model_copy(update={"precision": prepared.learner.precision})
    try:
        strategy, learner, _ = load_strategy(folder, described, prepared.learner.device)
    except InputError as error:
        return str(error)
    again = replace(prepared, strategy=strategy, learner=learner)
    given = prepared.config.setting == "task"
    found = {task: log_probabilities(again, task, task if given else None) for task in expected}
    same = all(_equal(found[task], expected[task]) for task in expected)
    return "" if same else f"{prepared.config.strategy} answers otherwise once its state is loaded"


def _answers(learner: Learner, logits: Tensor, batch: Batch, columns: list[int]) -> Tensor:
    """Log-probabilities (answers, candidates), where every token is answered of all that are no padding."""
    if learner.kind.over_labels:
        logits = logits[..., columns]
    return (logits if logits.ndim == 2 else logits[batch["attention_mask"].bool()]).log_softmax(-1)


def _equal(found: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors of log-probabilities differ by rounding only; where a number is none they differ."""
    probabilities = (found.exp() - wanted.exp()).abs().max() <= ROUNDING
    logarithms = (found.clamp(min=LEAST_LOG) - wanted.clamp(min=LEAST_LOG)).abs().max() <= LOG_ROUNDING
    return bool(probabilities & logarithms)


def _probes(prepared: Prepared, task: int) -> Batch:
    """Training examples of a task as the strategy sees examples at evaluation."""
    learner = prepared.learner
    batch = learner.collate([learner.kind.question(example) for example in prepared.tasks[task].train[:PROBES]])
    del batch["labels"]
    if prepared.config.setting != "task":
        batch["task_ids"].zero_()
    return batch
