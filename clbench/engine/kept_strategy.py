"""A strategy that was kept with its state, set up again as it was at the end of its run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clbench.data import LabelSpace
from clbench.engine.checkpoint import load_checkpoint
from clbench.errors import InputError
from clbench.head import make_head
from clbench.learner import Learner
from clbench.models import STATE, Deployment, images_per_pass, load_base, padding_id, use_onednn
from clbench.plugins import rebuild_strategy
from clbench.strategy import Stack


def load_strategy(folder: Path, deployment: Deployment, device: torch.device) -> tuple[Stack, Learner, Any]:
    """The strategy that was kept, set up and with its state, its learner and the tokenizer.

    Raises:
        InputError: a file is missing or damaged, or the strategy's code is another's.
    """
    run = deployment.run
    strategy = rebuild_strategy(run.strategy, deployment.plugin_files, deployment.plugin_hashes)
    kind = deployment.asks
    model, tokenizer = load_base(folder, kind, device)
    use_onednn(model)
    columns = tuple(tuple(task.columns) for task in deployment.tasks)
    later = tuple(map(tuple, deployment.later_columns))
    learner = Learner(
        model,
        LabelSpace(deployment.run.setting, tuple(deployment.labels), columns + later),
        kind=kind,
        tokenizer=tokenizer,
        longest_answer=deployment.longest_answer,
        seed=run.seed,
        padding_id=padding_id(tokenizer),
        precision=deployment.precision,
        head=make_head(model, deployment.output_layer or None, deployment.head),
        padding_side=deployment.padding_side,
        longest_text=deployment.max_length,
        positions=deployment.positions,
    )
    learner.pass_budget = images_per_pass(model, deployment, device)
    strategy.setup(learner)
    state = load_checkpoint(folder / STATE, run.config_sha256, f"keep the model of {folder} again")
    if state is None:
        raise InputError(f"{str(folder)!r}: {STATE}/ is missing; keep the model again")
    learner.tasks_seen = state["tasks_seen"]
    if modules := state.get("modules"):
        learner.model.base_model.set_adapter(modules)  # type: ignore[union-attr, operator] # PEFT's
    strategy.load_state_dict(state["strategy"])
    learner.model.load_state_dict(state["model"], strict=False)
    learner.model.eval()
    return strategy, learner, tokenizer
