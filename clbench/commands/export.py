"""``clbench export``: a run's model in a folder of its own, and on the hub where that is asked for."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from clbench import plugins
from clbench.errors import ClbenchError, InputError
from clbench.files import expand, replace_folder
from clbench.kinds import available_kinds, find_kind
from clbench.models import ALLOWED, FILE, export_model
from clbench.results import RunFolder


def write(run: Path, output: Path, task: str | None, *, merge: bool, push: str | None) -> str:
    """Write the model and push it; the line that says where it is.

    Raises:
        InputError: there is no model, no such task, nothing to merge, or the folder cannot be written.
    """
    output = expand(output, "--output")
    source = model_folder(run)
    if push is not None:
        check_repository(push)
    if os.path.lexists(output):
        raise InputError(f"{str(output)!r} exists already; allowed: a folder that is not there yet")
    new = output.with_name(f"{output.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(parents=True, exist_ok=True)
        export_model(source, new, task, merge=merge)
        replace_folder(new, output)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(output)!r} cannot be written: {reason}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return str(output) if push is None else f"{output}\n{push_folder(output, push)}"


def model_folder(path: Path) -> Path:
    """The folder of the kept model that ``path`` is, or of the run that it is.

    Raises:
        InputError: it is neither, or a run without a model; the line says how to get one.
    """
    for folder in (path, path / "model"):
        if os.path.isfile(folder / FILE):
            return folder
    if not os.path.isdir(path):
        raise InputError(f"no such folder: {str(path)!r}; {ALLOWED}")
    if os.path.isfile(path / "config.json") and "hash8" in (config := RunFolder(path).read_config()):
        if "trainer" in config:
            raise InputError(
                f"{str(path)!r} was made inside a Trainer, whose script has the model; keep it there: "
                "trainer.save_model(FOLDER)"
            )
        _refuse_kind(path, config)
        raise InputError(
            f"{str(path)!r} is a run whose model was not kept; train it again, with the same numbers, and keep it: "
            f"python -m clbench resume {shlex.quote(str(path))} --save-model"
        )
    raise InputError(f"{str(path)!r} holds no model ({FILE} is missing); {ALLOWED}")


def _refuse_kind(path: Path, config: Mapping[str, Any]) -> None:
    """A run whose model cannot be kept is not told to keep it."""
    name = str(config.get("scenario"))
    try:
        kind = plugins.scenario_kind(config.get("plugin_files", {}).get(f"scenario:{name}", name))
    except ClbenchError:
        return  # the scenario is gone, and with it what could be told
    if kind not in available_kinds() or not find_kind(kind).deployable:
        kept = ", ".join(own for own in available_kinds() if find_kind(own).deployable)
        own = kind.removesuffix("()")
        raise InputError(f"{str(path)!r} is a run on {own} tasks, whose models cannot be kept; allowed: {kept} tasks")


def check_repository(name: str) -> None:
    """Refuse what is no OWNER/NAME of the hub, before anything is written.

    Raises:
        InputError: names it.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
        if "/" not in name:
            raise HFValidationError("an owner is missing")
    except HFValidationError as error:
        raise InputError(f"--push {name!r} is no repository's name: {error}; allowed: OWNER/NAME") from error


def push_folder(folder: Path, name: str) -> str:
    """Upload ``folder`` to the repository ``name``, which is made, private, where it is not there yet; its address.

    Raises:
        InputError: the hub cannot be reached, or does not let us.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name, private=True, exist_ok=True)
        return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message="Model of a clbench run"))
    except Exception as error:  # of the hub's client and of what it stands on; all mean that nothing was pushed
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{name!r} cannot be pushed: {reason}; the model is in {str(folder)!r}; allowed: a repository that "
            "`hf auth login` lets you write"
        ) from error
