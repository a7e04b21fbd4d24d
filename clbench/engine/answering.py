"""A kept model answers texts: the label, its probability, and how the task was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clbench.data import Batch, LabelSpace, pass_budget, sorted_batches
from clbench.engine.checkpoint import load_checkpoint
from clbench.errors import InputError
from clbench.head import make_head
from clbench.kinds import encode_texts
from clbench.learner import Learner
from clbench.models import STATE, Deployment, PlainModel, load_base, read_deployment, use_onednn
from clbench.plugins import rebuild_strategy
from clbench.strategy import Stack
from clbench.text import TextOrPair


@dataclass(frozen=True)
class Answer:
    """What a kept model says of one text.

    Attributes:
        label: the most probable one.
        probability: among the labels that were candidates.
        task: whose label it is; None where the label is several tasks'.
        task_from: "given", "router RULE", or "all labels" where the most probable of all of them decided.
    """

    label: str
    probability: float
    task: str | None
    task_from: str


class KeptModel:
    """A folder that ``--save-model`` or ``clbench export`` wrote, loaded.

    Args:
        folder: it.
        device: where it will compute.

    Raises:
        InputError: it holds no model, or one that cannot be loaded.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.folder, self.device = folder, device
        self.deployment = read_deployment(folder)
        self._plain: dict[str, PlainModel] = {}
        self._strategy: Stack | None = None
        if self.deployment.form == "strategy":
            self._strategy, self.learner, self.tokenizer = load_strategy(folder, self.deployment, device)
        else:
            first = self._model(self._folder_of(0))
            self.learner, self.tokenizer = first.learner, first.tokenizer

    def answer(self, texts: Sequence[TextOrPair], task: str | None = None) -> list[Answer]:
        """An answer for each text.

        Args:
            texts: any number; pairs where the run read pairs.
            task: whose they are; None where that is not known.

        Raises:
            InputError: the model knows no such task, or reads pairs and is given texts, or the other way round.
        """
        own = self.deployment
        if own.task is not None and task not in (None, own.task):
            raise InputError(f"this model was kept for the task {own.task!r} alone, not for {task!r}")
        name = own.task if task is None else task
        position = None if name is None else own.position(name)
        given = position if position is not None and self._takes_task else 0
        examples = [{**read, "label": 0, "task_id": given} for read in self._read(texts)]
        answers: dict[int, Answer] = {}
        self.learner.model.eval()
        for numbers in sorted_batches(examples, pass_budget(examples, self.device)):
            batch = self.learner.collate([examples[number] for number in numbers])
            del batch["labels"]
            probability, column = self.logits(batch, position).softmax(-1).max(-1)
            for number, value, index in zip(numbers, probability.tolist(), column.tolist(), strict=True):
                answers[number] = self._spelled(index, value, name)
        return [answers[number] for number in range(len(texts))]

    @torch.inference_mode()
    def logits(self, batch: Batch, task: int | None) -> Tensor:
        """fp32 logits (examples, labels), −inf for what is no candidate; ``task`` is its position or None."""
        own = self.deployment
        if task is not None:
            found, columns = self._logits(batch, task), own.tasks[task].columns
        elif own.run.setting != "task" or own.form in ("model", "adapter", "linear"):
            found, columns = self._logits(batch, None), own.candidates
        else:  # each task has a model of its own
            found, columns = self._all_labels(batch), own.candidates
        allowed = torch.zeros(len(own.labels), dtype=torch.bool, device=found.device)
        allowed[columns] = True
        return found.masked_fill(~allowed, float("-inf"))

    def _all_labels(self, batch: Batch) -> Tensor:
        """Each task's labels as its own model scores them."""
        scores = torch.full((len(batch["input_ids"]), len(self.deployment.labels)), float("-inf"), device=self.device)
        for position, task in enumerate(self.deployment.tasks):
            batch["task_ids"].fill_(position)
            own = self._logits(batch, position)[:, task.columns]
            scores[:, task.columns] = torch.maximum(scores[:, task.columns], own)
        return scores

    def _logits(self, batch: Batch, task: int | None) -> Tensor:
        if self._strategy is None:
            return self._model(self._folder_of(task or 0)).logits(batch)
        given = task if self._takes_task else None
        logits = self._strategy.predict(self.learner, batch, given) if self._strategy.answers else None
        return self.learner.logits(batch) if logits is None else logits

    @property
    def _takes_task(self) -> bool:
        """Whether the strategy is told the task, as it was in the run."""
        routes = self._strategy is not None and bool(self._strategy.routing)
        return self.deployment.run.setting == "task" or routes

    def _folder_of(self, task: int) -> str:
        return self.deployment.tasks[task].folder if self.deployment.form == "tasks" else ""

    def _model(self, name: str) -> PlainModel:
        if name not in self._plain:
            folder = self.folder / name
            self._plain[name] = PlainModel(folder, read_deployment(folder), self.device)
            use_onednn(self._plain[name].learner.model)
        return self._plain[name]

    def _read(self, texts: Sequence[TextOrPair]) -> Sequence[dict[str, Tensor]]:
        for number, text in enumerate(texts, 1):
            if isinstance(text, str) is self.deployment.pairs:
                reads, other = ("pairs of texts", "none") if self.deployment.pairs else ("single texts", "one")
                raise InputError(f"this model reads {reads}, and text {number} has {other} to be read after it")
        return encode_texts(texts, self.tokenizer, self.deployment.max_length)

    def _spelled(self, column: int, probability: float, task: str | None) -> Answer:
        own = self.deployment
        if task is not None:
            return Answer(own.labels[column], probability, task, "given")
        whose = [each.name for each in own.tasks if column in each.columns]
        way = f"router {own.routing}" if own.routing else "all labels"
        return Answer(own.labels[column], probability, whose[0] if len(whose) == 1 else None, way)


def load_strategy(folder: Path, deployment: Deployment, device: torch.device) -> tuple[Stack, Learner, Any]:
    """The strategy that was kept, set up and with its state, its learner and the tokenizer.

    Raises:
        InputError: a file is missing or damaged, or the strategy's code is another's.
    """
    run = deployment.run
    strategy = rebuild_strategy(run.strategy, deployment.plugin_files, deployment.plugin_hashes)
    model, tokenizer = load_base(folder, device)
    use_onednn(model)
    columns = tuple(tuple(task.columns) for task in deployment.tasks)
    later = tuple(map(tuple, deployment.later_columns))
    learner = Learner(
        model,
        LabelSpace(deployment.run.setting, tuple(deployment.labels), columns + later),
        seed=run.seed,
        padding_id=tokenizer.pad_token_id,
        precision=deployment.precision,
        head=make_head(model, deployment.output_layer or None, deployment.head),
        padding_side=deployment.padding_side,
        longest_text=deployment.max_length,
        positions=deployment.positions,
    )
    strategy.setup(learner)
    state = load_checkpoint(folder / STATE, run.config_sha256, f"keep the model of {folder} again")
    if state is None:
        raise InputError(f"{str(folder)!r}: {STATE}/ is missing; keep the model again")
    learner.tasks_seen = state["tasks_seen"]
    strategy.load_state_dict(state["strategy"])
    learner.model.load_state_dict(state["model"], strict=False)
    learner.model.eval()
    return strategy, learner, tokenizer
