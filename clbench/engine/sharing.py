"""What several runs of one command have in common and measure once: the same weights, asked the same.

Before any training these are the same for every strategy that leaves the model as it came and lets it answer, after the
first task for all that learned it alike. Whether it is so is not asked but looked at, with :func:`fingerprint`.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock
from xxhash import xxh3_128

import clbench
from clbench.config import NOT_SCIENCE, RunConfig, canonical_json
from clbench.data import Example
from clbench.files import write_atomic
from clbench.learner import Learner
from clbench.strategy import Strategy
from clbench.toolkit import Evaluation, evaluate_all

PLAIN = int | float | str | bool | None
# Of a learner: what evaluation does not read, or what it changes itself.
UNREAD = {"clock", "learning_rates", "local_labels", "held_rows", "events", "new_examples", "compiled", "_allowed"}
# Of a learner: what the engine itself has changed when a task's first step begins.
BEGUN = {"tasks_seen", "step", "steps", "parameter_groups", "skipped_steps"}


def shared_row(
    learner: Learner, strategy: Strategy, tests: Sequence[Sequence[Example]], path: Path
) -> list[Evaluation | None]:
    """Each task's evaluation; read from ``path`` where a run before it measured the same.

    The clock counts what they took when they were measured, so that a run's costs are the same either way.

    Args:
        learner, strategy, tests: as of :func:`evaluate_all`.
        path: names all that the evaluation depends on, as of :func:`row_path`.
    """
    kept: list[Any]
    asked = learner.clock.read()
    with FileLock(f"{path}.lock"):
        if os.path.exists(path):
            kept, seconds = pickle.loads(path.read_bytes())  # written by a run of the same command
            learner.model.eval()  # as evaluation leaves it
            learner.clock.add(difference(seconds, difference(learner.clock.read(), asked)))
            return [each and Evaluation(each[0], each[1], each[2], learner.kind, each[3]) for each in kept]
        begun = learner.clock.read()
        found = evaluate_all(learner, strategy, tests)
        kept = [each and (each.labels, each.predictions, each.confidences, each.measure) for each in found]
        with suppress(OSError):  # a full disk: the next one measures for itself
            write_atomic(path, pickle.dumps((kept, difference(learner.clock.read(), begun))))
    return found


def row_path(shared: Path, config: RunConfig, row: int, before: Fingerprint, learner: Learner) -> Path | None:
    """Where the evaluation of a row is shared; None where more of the model has changed than its weights.

    Args:
        shared: the folder of what runs share.
        config: the run's.
        row: 0 before training, 1 after the first task.
        before: of the model as it came.
        learner: as it is now.
    """
    now = fingerprint(learner)
    same = before.all_but_weights() == now.all_but_weights()
    return shared / f"{science_key(config)}-{row}-{now.weights.hex()}.pickle" if same else None


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """What a clock counted between two readings, by purpose."""
    return {key: after.get(key, 0.0) - before.get(key, 0.0) for key in {**after, **before}}


def science_key(config: RunConfig) -> str:
    """A hash of all but the strategy that numbers depend on: every other setting, threads, the device's type."""
    settings = {key: value for key, value in config.model_dump().items() if key not in NOT_SCIENCE | {"strategy"}}
    hashes = {name: value for name, value in config.plugin_hashes.items() if not name.startswith("strategy:")}
    place = {"threads": torch.get_num_threads(), "device": config.device.partition(":")[0]}
    content = {**settings, "plugin_hashes": hashes, **place, "clbench": clbench.__version__}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


class Fingerprint(NamedTuple):
    """All that the model's answers depend on, and how it would learn, so that two moments can be compared.

    Attributes:
        weights: a hash of all parameters and buffers.
        modules: their structure, and the parameters' types and shapes.
        learner: the learner's attributes, plain values or identities.
        settings: the model's own.
        learning: which parameters learn, and at which rates.
    """

    weights: bytes
    modules: list[Any]
    learner: dict[str, Any]
    settings: str
    learning: tuple[Any, ...]

    def answers(self) -> tuple[Any, ...]:
        """What evaluation depends on."""
        return self[:4]

    def all_but_weights(self) -> tuple[Any, ...]:
        """What evaluation depends on but the weights, and what the engine changes when it trains."""
        read = {key: value for key, value in self.learner.items() if key not in BEGUN}
        return self.modules, read, self.settings


def fingerprint(learner: Learner) -> Fingerprint:
    """That of ``learner`` as it is now."""
    digest = xxh3_128()
    shape: list[Any] = []
    for name, module in learner.model.named_modules():
        plain = {key: value for key, value in vars(module).items() if isinstance(value, PLAIN) and key != "training"}
        hooks = [len(hooks) for key, hooks in vars(module).items() if key.endswith("_hooks") and hooks is not None]
        shape.append((name, id(module), type(module), plain, hooks, "forward" in vars(module), module.extra_repr()))
    for name, tensor in [*learner.model.named_parameters(), *learner.model.named_buffers()]:
        shape.append((name, tensor.dtype, tuple(tensor.shape)))
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    read = {key: value if isinstance(value, PLAIN) else id(value) for key, value in vars(learner).items()}
    read = {key: value for key, value in read.items() if key not in UNREAD}
    learning = [
        (name, bool(p._backward_hooks), bool(p._post_accumulate_grad_hooks)) for name, p in learner.named_parameters()
    ]
    how = learning, dict(learner.learning_rates), learner.local_labels, learner.held_rows
    return Fingerprint(digest.digest(), shape, read, str(getattr(learner.model, "config", "")), how)
