"""What a task's end leaves on the disk, so that a script that is started again goes on with the next task."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from clbench.data import LabelSpace
from clbench.engine import MANIFEST, load_checkpoint, save_checkpoint
from clbench.errors import InputError
from clbench.files import expand
from clbench.integrations.trainer.causal import plain_forward
from clbench.integrations.trainer.contents import weights_hash
from clbench.integrations.trainer.outcome import Outcome
from clbench.learner import Learner
from clbench.models import ranks
from clbench.strategy import Strategy


def save_end(folder: str, owner: str, learner: Learner, strategy: Strategy, outcome: Outcome) -> None:
    """Write to ``folder`` all that the tasks after the one that has just ended depend on."""
    model = learner.model
    # Frozen weights come back with the script's own model.
    frozen = {name: value for name, value in model.named_parameters() if name not in outcome.learned}
    streams = ranks.gathered(_torch_streams(learner))
    content = {
        "outcome": outcome.state_dict(),
        "columns": [list(own) for own in learner.labels.columns],
        "model": {name: value for name, value in model.state_dict().items() if name not in frozen},
        "frozen_sha256": weights_hash(frozen),
        "strategy": strategy.state_dict(),
        "seconds": learner.clock.read(),
        **streams[0],
        "other_processes": streams[1:],
    }
    ranks.of_first(partial(save_checkpoint, expand(folder, "state_dir"), content, owner))


def load_end(folder: str, owner: str, learner: Learner, strategy: Strategy, outcome: Outcome) -> dict[str, Any] | None:
    """Put learner, strategy and outcome where the last task that ended left them; what was saved, None for nothing.

    Raises:
        InputError: the folder holds something else, or what it holds is damaged.
    """
    content = ranks.of_first(partial(_read_end, folder, owner))
    if content is None:
        return None
    _check_model(learner.model, content, folder)
    outcome.load_state_dict(content["outcome"], learner.kind)
    columns = tuple(tuple(own) for own in content["columns"])
    learner.labels = LabelSpace(learner.labels.setting, learner.labels.names, columns)
    learner.tasks = learner.tasks_seen = len(columns)
    learner.measures = learner.measures[:1] * len(columns)
    with plain_forward(learner.model):
        strategy.load_state_dict(content["strategy"])
    learner.model.load_state_dict(content["model"], strict=False)
    learner.clock.resume(content["seconds"])
    return content


def restore_random(content: dict[str, Any], learner: Learner) -> None:
    """torch's random streams as they were when the task ended."""
    processes = [content, *content.get("other_processes", [])]
    if ranks.number() < len(processes):  # else fewer processes saved it
        own = processes[ranks.number()]
        torch.set_rng_state(own["torch_rng"])
        if own["cuda_rng"] is not None and learner.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda_rng"], learner.device)


def _read_end(folder: str, owner: str) -> dict[str, Any] | None:
    place = expand(folder, "state_dir")
    if place.is_dir() and any(place.iterdir()) and not (place / MANIFEST).is_file():
        raise InputError(
            f"state_dir = {folder!r} holds something else; allowed: a folder that is new or an earlier one"
        )
    return load_checkpoint(place, owner, f"delete {place} to begin with the first task")


def _check_model(model: nn.Module, content: dict[str, Any], folder: str) -> None:
    """Refuse a script whose model is another one than that whose weights are kept."""
    own, kept = model.state_dict(), content["model"]
    other = [name for name, value in kept.items() if name not in own or own[name].shape != value.shape]
    frozen = {name: value for name, value in model.named_parameters() if name not in kept}
    if other or weights_hash(frozen) != content["frozen_sha256"]:
        fault = f"has no {other[0]!r} of that size" if other else "has other weights where none was learned"
        raise InputError(
            f"the Trainer's model {fault}, and state_dir = {folder!r} goes on from ended tasks; allowed: the model "
            "that they began with, or a state_dir that is new"
        )


def _torch_streams(learner: Learner) -> dict[str, Any]:
    on_gpu = learner.device.type == "cuda"
    cuda = torch.cuda.get_rng_state(learner.device) if on_gpu else None
    return {"torch_rng": torch.get_rng_state(), "cuda_rng": cuda}
