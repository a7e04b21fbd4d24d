"""A kept model answers: the label, the tags or the text, its probability, and how the task was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clbench.data import Batch, Example, pass_budget, sorted_batches
from clbench.engine.kept_strategy import load_strategy
from clbench.errors import InputError
from clbench.kinds import Kind
from clbench.learner import Learner
from clbench.models import PlainModel, read_deployment, use_onednn
from clbench.strategy import Stack


@dataclass(frozen=True)
class Answer:
    """What a kept model says to one question.

    Attributes:
        answer: the most probable label, each word's most probable tag, or what was written.
        probability: among the labels that were candidates; the mean over the words, or the geometric mean over the
            tokens written.
        task: whose it is; None where it may be several tasks'.
        task_from: "given", "router RULE", "all labels" where the most probable of all of them decided, or "one model"
            where the same model writes for all tasks.
    """

    answer: Any
    probability: float
    task: str | None
    task_from: str

    def line(self, answered_as: str) -> dict[str, Any]:
        """The same for a JSON line; ``answered_as`` is what the kind calls its answers."""
        told = {"probability": self.probability, "task": self.task, "task_from": self.task_from}
        return {answered_as: self.answer, **told}


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

    @property
    def kind(self) -> Kind:
        """Of the tasks: what is asked and answered."""
        return self.deployment.asks

    def answer(self, inputs: Sequence[Any], task: str | None = None) -> list[Answer]:
        """An answer to each question.

        Args:
            inputs: any number, as the kind's ``read_input`` gives them.
            task: whose they are; None where that is not known.

        Raises:
            InputError: the model knows no such task, or must be told one.
        """
        own = self.deployment
        if own.task is not None and task not in (None, own.task):
            raise InputError(f"this model was kept for the task {own.task!r} alone, not for {task!r}")
        name = own.task if task is None else task
        position = None if name is None else own.position(name)
        if position is None and self._apart and not self.kind.over_labels:
            names = ", ".join(each.name for each in own.tasks)
            raise InputError(
                f"each task has a model of its own, and nothing tells whose a {self.kind.noun} is; give --task: {names}"
            )
        given = position if position is not None and self._takes_task else 0
        asked = self.kind.ask(inputs, self.tokenizer, own.limits) if inputs else []
        examples = [{**example, "task_id": given} for example in asked]
        answers: dict[int, Answer] = {}
        self.learner.model.eval()
        for numbers in sorted_batches(examples, self.learner.pass_budget or pass_budget(examples, self.device)):
            batch = self.learner.collate([examples[number] for number in numbers])
            del batch["labels"]
            found, sure = self._answers(batch, position)
            for number, value, confidence in zip(numbers, found.tolist(), sure.tolist(), strict=True):
                answers[number] = self._spelled(value, confidence, examples[number], name)
        return [answers[number] for number in range(len(inputs))]

    @torch.inference_mode()
    def _answers(self, batch: Batch, task: int | None) -> tuple[Tensor, Tensor]:
        logits = self.logits(batch, task)
        everything = torch.ones(len(logits), logits.shape[-1], dtype=torch.bool, device=logits.device)
        return self.kind.answer(logits, everything, batch, self._writer(task).decode)

    @torch.inference_mode()
    def logits(self, batch: Batch, task: int | None) -> Tensor:
        """fp32 logits (examples, labels) or (examples, tokens, outputs), −inf for what is no candidate.

        ``task`` is its position or None.
        """
        own = self.deployment
        if task is not None:
            found, columns = self._logits(batch, task), own.tasks[task].columns
        elif not self._apart:
            found, columns = self._logits(batch, None), own.candidates
        else:
            found, columns = self._all_labels(batch), own.candidates
        if not self.kind.over_labels:
            return found
        allowed = torch.zeros(len(own.labels), dtype=torch.bool, device=found.device)
        allowed[columns] = True
        return found.masked_fill(~allowed, float("-inf"))

    def _all_labels(self, batch: Batch) -> Tensor:
        """Each task's labels as its own model scores them."""
        scores: Tensor | None = None
        for position, task in enumerate(self.deployment.tasks):
            batch["task_ids"].fill_(position)
            found = self._logits(batch, position)
            own = torch.full_like(found, float("-inf"))
            own[..., task.columns] = found[..., task.columns]
            scores = own if scores is None else torch.maximum(scores, own)
        assert scores is not None
        return scores

    def _logits(self, batch: Batch, task: int | None) -> Tensor:
        if self._strategy is None:
            return self._model(self._folder_of(task or 0)).logits(batch)
        given = task if self._takes_task else None
        logits = self._strategy.predict(self.learner, batch, given) if self._strategy.answers else None
        return self.learner.logits(batch) if logits is None else logits

    @property
    def _apart(self) -> bool:
        """Whether each task has a model of its own, and the run knew which to ask."""
        return self.deployment.run.setting == "task" and self.deployment.form not in ("model", "adapter", "linear")

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

    def _writer(self, task: int | None) -> Learner:
        """Whose model has just answered and would go on from there."""
        return self.learner if self._strategy is not None else self._model(self._folder_of(task or 0)).learner

    def _spelled(self, found: Any, confidence: Any, example: Example, task: str | None) -> Answer:
        own = self.deployment
        read, probability = self.kind.read(found, confidence, example, own.labels, self.tokenizer)
        answer = self.kind.spell(read, own.labels)
        if task is not None:
            return Answer(answer, probability, task, "given")
        if not self.kind.over_labels:
            return Answer(answer, probability, None, "one model")
        columns = self.kind.columns_of(found, example)
        whose = [each.name for each in own.tasks if columns and columns <= set(each.columns)]
        way = f"router {own.routing}" if own.routing else "all labels"
        return Answer(answer, probability, whose[0] if len(whose) == 1 else None, way)
