"""What clbench.json says of the model of a run as it is now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import clbench
from clbench.engine.preparation import Prepared
from clbench.files import safe_name
from clbench.models import BASE, DeployedTask, Deployment, Form, Origin, label_names, save_tokenizer


def describe(
    prepared: Prepared,
    results: dict[str, Any],
    form: Form,
    *,
    only: int | None = None,
    why: str = "",
    below: bool = False,
) -> Deployment:
    """What clbench.json says of the model as it is now.

    Args:
        prepared: the run.
        results: its numbers so far.
        form: in which it is kept.
        only: the task that it answers alone, None for all.
        why: why it is not plain.
        below: whether folders of a task each lie in its own.
    """
    config = prepared.config
    labels, seen = prepared.learner.labels, prepared.learner.tasks_seen
    tasks = prepared.tasks[:seen]
    whole: dict[str, Any] = {}
    if form == "strategy":
        whole |= {"head": sorted(prepared.loaded.head.parameters), "positions": prepared.loaded.positions}
        whole |= {"later_columns": [list(columns) for columns in labels.columns[seen:]]}
        whole |= {"plugin_files": config.plugin_files, "plugin_hashes": config.plugin_hashes}
    base = base_of(prepared) if form == "adapter" else ""
    return Deployment(
        clbench=clbench.__version__,
        form=form,
        why=why,
        run=Origin(
            scenario=config.scenario,
            strategy=config.strategy,
            model=config.model,
            setting=config.setting,
            seed=config.seed,
            config_sha256=config.sha256,
        ),
        results=results,
        labels=list(labels.names),
        tasks=[
            DeployedTask(
                name=task.name,
                columns=list(task.columns),
                folder=task_folder(prepared, task.position) if below else "",
            )
            for task in tasks
        ],
        task=None if only is None else prepared.tasks[only].name,
        candidates=candidates(prepared, None),
        routing="" if config.setting == "task" else prepared.strategy.routing,
        pairs=prepared.pairs,
        max_length=longest_text(prepared),
        padding_side=prepared.learner.padding_side,  # type: ignore[arg-type] # "left" or "right"
        precision=config.precision,  # type: ignore[arg-type] # resolved, no longer "auto"
        output_layer=prepared.loaded.head.output_layer or "",
        base=base,
        base_sha256=config.model_sha256 if base not in ("", BASE) else "",
        features="mean" if form == "linear" else "",
        **whole,
    )


def names_of(prepared: Prepared) -> list[str]:
    """The labels' names as a config.json takes them."""
    return label_names(prepared.learner.labels.names, [(task.name, task.columns) for task in prepared.tasks])


def base_of(prepared: Prepared) -> str:
    """What an adapter is for: a name or a whole path; ``tiny`` is made for each run, and so lies beside its adapter."""
    name = prepared.config.model
    if name == "tiny":
        return BASE
    return str(Path(name).expanduser().absolute()) if Path(name).expanduser().is_dir() else name


def longest_text(prepared: Prepared) -> int:
    """Tokens after which the run cut a text."""
    return prepared.loaded.longest_text(prepared.config.max_length)


def keep_tokenizer(prepared: Prepared, tokenizer: Any, folder: Path) -> None:
    """Write ``tokenizer`` into ``folder`` so that it cuts and pads as the run did."""
    side = prepared.learner.padding_side
    save_tokenizer(tokenizer, folder, longest_text(prepared), side, pairs=prepared.pairs)


def task_folder(prepared: Prepared, task: int) -> str:
    """Where the model of a task alone lies in the folder of all."""
    return f"tasks/{task + 1:0{len(str(len(prepared.tasks)))}}-{safe_name(prepared.tasks[task].name)}"


def candidates(prepared: Prepared, task: int | None) -> list[int]:
    """The columns among which the answer to a text is looked for."""
    labels, seen = prepared.learner.labels, prepared.learner.tasks_seen
    if labels.setting == "task" and task is None:
        return sorted({column for columns in labels.columns[:seen] for column in columns})
    return list(labels.candidates(task, seen))
