"""A copy of a kept model: whole, of one task, or with its adapter merged into the base model."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from clbench.errors import InputError
from clbench.models.card import write_card
from clbench.models.deployment import BASE, LINEAR, DeployedTask, Deployment, read_deployment
from clbench.models.image_folders import NETWORK, SETTINGS, timm_settings, wrap_network, write_json
from clbench.models.libraries import import_libraries
from clbench.models.model_kinds import is_timm, reads_images
from clbench.models.reloading import load_adapter, load_whole
from clbench.models.safe_weights import read_json
from clbench.models.saving import WRAPPED, cut_rows, label_names, name_labels, save_classifier

CPU = torch.device("cpu")
ADAPTER = "adapter_model.safetensors"


def export_model(source: Path, target: Path, task: str | None = None, *, merge: bool = False) -> None:
    """Write a copy of the kept model in ``source`` to the new folder ``target``.

    Args:
        source: with a clbench.json.
        target: a folder that is not there.
        task: the only one that the copy answers; its output layer has the labels of that task alone.
        merge: PEFT's modules become part of the weights, so that transformers alone loads them.

    Raises:
        InputError: there is no such task, or nothing that could be merged.
    """
    import_libraries()
    deployment = read_deployment(source)
    if task is not None and deployment.task not in (None, task):
        raise InputError(f"{str(source)!r} was kept for the task {deployment.task!r} alone, not for {task!r}")
    place = None if task is None else deployment.tasks[deployment.position(task)]
    if place is not None and place.folder:
        export_model(source / place.folder, target, task, merge=merge)
        return
    if merge and deployment.form != "adapter":
        raise InputError(f"{str(source)!r} cannot be merged: {_no_adapter(deployment)}")
    if merge:
        deployment = _merge(source, target, deployment)
    else:
        shutil.copytree(source, target)
    if place is not None:
        deployment = _cut(target, deployment, place)
    deployment.write(target)
    write_card(target, deployment)


def _no_adapter(deployment: Deployment) -> str:
    if deployment.form == "tasks":
        names = ", ".join(task.name for task in deployment.tasks)
        return f"each task has a folder of its own; give --task: {names}"
    if deployment.form == "strategy":
        return f"it is a strategy with its state, because {deployment.why}"
    return "it has no adapter; leave --merge away"


def _merge(source: Path, target: Path, deployment: Deployment) -> Deployment:
    """Write the base model with the adapter merged into its weights."""
    model, settings = load_adapter(source, deployment, CPU).merge_and_unload(), read_json(str(source), SETTINGS)
    if reads_images(deployment.asks):
        model = wrap_network(model, source, settings)
    # All but what was the adapter's: the tokenizer.
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("adapter_*", BASE, "config.json"))
    names = settings.get("label_names") or list(settings.get("id2label", {}).values())  # timm's, or transformers'
    save_classifier(model, target, names, {})
    return deployment.model_copy(update={"form": "model", "base": "", "base_sha256": ""})


def _cut(folder: Path, deployment: Deployment, task: DeployedTask) -> Deployment:
    """Leave of the output layer in ``folder`` the rows of one task's labels."""
    if deployment.form == "strategy":
        return deployment.model_copy(update={"task": task.name})
    if not deployment.asks.over_labels:  # what it writes is of all tasks
        own = [each for each in deployment.tasks if each.name == task.name]
        return deployment.model_copy(update={"task": task.name, "tasks": own})
    labels = [deployment.labels[column] for column in task.columns]
    if deployment.form == "linear":
        held = load_file(folder / LINEAR)
        _discard(folder, LINEAR)
        save_file({name: value[task.columns].contiguous() for name, value in held.items()}, folder / LINEAR)
    elif deployment.form == "adapter":
        _cut_adapter(folder, deployment, task.columns, labels)
    else:
        _cut_classifier(folder, deployment, task.columns, labels)
    columns = list(range(len(labels)))
    update = {
        "labels": labels,
        "tasks": [DeployedTask(name=task.name, columns=columns)],
        "task": task.name,
        "candidates": columns,
    }
    return deployment.model_copy(update=update)


def _cut_adapter(folder: Path, deployment: Deployment, columns: list[int], labels: list[str]) -> None:
    from transformers import AutoConfig

    weights, images = load_file(folder / ADAPTER), reads_images(deployment.asks)
    layer = deployment.output_layer.removeprefix(NETWORK) if images else deployment.output_layer
    for name in ("weight", "bias"):
        if (key := f"{WRAPPED}{layer}.{name}") in weights:
            weights[key] = weights[key][columns].contiguous()
    _discard(folder, ADAPTER)
    save_file(weights, folder / ADAPTER, metadata={"format": "pt"})
    names, given = label_names(labels, []), read_json(str(folder), SETTINGS)
    if is_timm(given):
        write_json(folder / SETTINGS, timm_settings(given, names))
        return
    settings = AutoConfig.from_pretrained(folder)
    name_labels(settings, names)
    settings.save_pretrained(folder)


def _cut_classifier(folder: Path, deployment: Deployment, columns: list[int], labels: list[str]) -> None:
    model = load_whole(folder, deployment.asks.auto_class, CPU)
    model.set_submodule(deployment.output_layer, cut_rows(model.get_submodule(deployment.output_layer), columns))
    _discard(folder, "*.safetensors*")
    save_classifier(model, folder, label_names(labels, []), {})


def _discard(folder: Path, names: str) -> None:
    """Delete files of weights that may still be mapped into memory: written over they would change, or end, there."""
    for path in folder.glob(names):
        path.unlink()
