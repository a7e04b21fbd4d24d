"""The state of a strategy beside each checkpoint that a Trainer saves inside a task, so that the task can go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clbench.engine import MANIFEST, load_checkpoint, save_checkpoint
from clbench.errors import InputError

BESIDE = "clbench"
OPTIMIZER = "optimizer.pt"  # which save_only_model leaves out, with all else that training goes on from


def checkpoints(trainer: Any) -> list[Path]:
    """The checkpoints in the Trainer's output folder, the newest first."""
    found = [
        (int(path.name.removeprefix("checkpoint-")), path)
        for path in Path(trainer.args.output_dir).glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdigit()
    ]
    return [path for _, path in sorted(found, reverse=True)]


def own_checkpoint(trainer: Any, owner: str) -> str | None:
    """The newest inside a task that is whole, with a state that belongs to ``owner``, a configuration's hash."""
    for path in checkpoints(trainer):
        manifest = path / BESIDE / MANIFEST
        whole = (path / OPTIMIZER).is_file() and manifest.is_file() and not at_end(path)
        if whole and owner in manifest.read_text(encoding="utf-8"):
            return str(path)
    return None


def at_end(checkpoint: Path) -> bool:
    """Whether it is of the last step, after which a Trainer that goes on from it may take one more."""
    state = checkpoint / "trainer_state.json"
    told = json.loads(state.read_text(encoding="utf-8")) if state.is_file() else {}
    return bool(told) and told["global_step"] >= told["max_steps"]


def save_beside(trainer: Any, step: int, state: dict[str, Any], owner: str) -> None:
    """Write ``state`` into the checkpoint that the Trainer has written after ``step`` steps."""
    save_checkpoint(Path(trainer.args.output_dir) / f"checkpoint-{step}" / BESIDE, state, owner)


def load_beside(trainer: Any, given: str | bool, owner: str) -> tuple[str, dict[str, Any]]:
    """A checkpoint's folder, and the state in it.

    Args:
        trainer: transformers'.
        given: the folder, or True for the newest in the Trainer's output folder.
        owner: the hash of the configuration that it must belong to.

    Raises:
        InputError: there is no checkpoint, or it has no state of this task, strategy, data and training arguments.
    """
    folder = given
    if given is True:
        found = checkpoints(trainer)
        if not found:
            raise InputError(
                f"train(resume_from_checkpoint=True): {trainer.args.output_dir} has no checkpoint; allowed: "
                "resume_from_checkpoint=learning.checkpoint(trainer), which is None where there is none"
            )
        folder = str(found[0])
    advice = (
        "allowed: a checkpoint of this task, with strategy, data and training arguments as they were; each task's "
        "Trainer needs an output_dir of its own"
    )
    state = load_checkpoint(Path(str(folder)) / BESIDE, owner, advice)
    if state is None:
        raise InputError(f"resume_from_checkpoint = {str(folder)!r} has no state of the strategy beside it; {advice}")
    if not (Path(str(folder)) / OPTIMIZER).is_file():
        raise InputError(
            f"resume_from_checkpoint = {str(folder)!r} has no {OPTIMIZER}, without which it would go on otherwise; "
            "allowed: one that was saved with save_only_model=False"
        )
    if at_end(Path(str(folder))):
        raise InputError(
            f"resume_from_checkpoint = {str(folder)!r} is of the last step, after which a Trainer may take one more; "
            "allowed: an earlier one, as learning.checkpoint(trainer) finds it"
        )
    return str(folder), state
