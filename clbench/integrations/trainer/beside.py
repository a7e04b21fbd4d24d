"""The state of a strategy beside each checkpoint that a Trainer saves inside a task, so that the task can go on."""

from __future__ import annotations

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
    """The newest that is whole, with a state that belongs to ``owner``, a configuration's hash."""
    for path in checkpoints(trainer):
        manifest = path / BESIDE / MANIFEST
        if (path / OPTIMIZER).is_file() and manifest.is_file() and owner in manifest.read_text(encoding="utf-8"):
            return str(path)
    return None


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
    return str(folder), state
