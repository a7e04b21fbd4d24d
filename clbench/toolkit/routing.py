"""Which of several tasks' modules answers when no task id is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from clbench.data import Batch, Example, TaskData
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.toolkit.lora import module_name, use_module
from clbench.toolkit.passes import in_passes


class Router:
    """Chooses among the modules of the learned tasks by one rule, and knows the examples it is measured on.

    Args:
        rule: "oracle", "confidence", "entropy" or "prototype".
    """

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.means: list[Tensor] = []
        self.dev: list[Example] = []

    def check(self, strategy: str, setting: str) -> None:
        """Refuse the oracle where it is not told the task.

        Raises:
            InputError: names the setting and the rules that it allows.
        """
        if self.rule == "oracle" and setting != "task":
            reason = f"needs the task id, which setting {setting!r} does not give"
            raise InputError(f"{strategy}: router = 'oracle' {reason}; allowed: confidence, entropy, prototype")

    def answer(self, learner: Learner, model: PeftModel, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-probabilities (examples, labels) by the chosen modules, and whose they are: the task (examples,)."""
        answers = torch.stack([_log_probabilities(learner, model, batch, task) for task in range(learner.tasks_seen)])
        if self.rule == "prototype":
            chosen = nearest_class_mean(pretrained_features(learner, model, batch), self.means)
        else:
            chosen = (most_confident if self.rule == "confidence" else least_entropy)(answers)
        return answers[chosen, torch.arange(len(chosen), device=chosen.device)], chosen

    def learn(self, learner: Learner, model: PeftModel, task: TaskData) -> float:
        """Take what the rule needs from a task that has been learned; the accuracy on the learned tasks' dev examples.

        The model is left in training mode or not, as it was; another module may be active afterwards.
        """
        self.dev += task.dev
        training = learner.model.training
        learner.model.eval()
        with torch.no_grad(), learner.clock.measure("routing"):
            if self.rule == "prototype":
                self.means.append(class_means(learner, model, task))
            right = in_passes(learner, self.dev, partial(self._right, learner, model))
        learner.model.train(training)
        return float(right) / len(self.dev)

    def _right(self, learner: Learner, model: PeftModel, batches: Iterable[list[int]]) -> Tensor:
        """How many of the dev examples go to their own task's module."""
        right = []
        for numbers in batches:
            batch = learner.collate([self.dev[i] for i in numbers])
            right.append((self.answer(learner, model, batch)[1] == batch["task_ids"]).sum())
        return torch.stack(right).sum()

    def state_dict(self) -> dict[str, Any]:
        """The class means; the dev examples as JSON, for they only measure and are no memory of the method."""
        tokens = [example["input_ids"].tolist() for example in self.dev]
        return {"means": self.means, "tokens": tokens, "tasks": [example["task_id"] for example in self.dev]}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore them."""
        self.means = [means.to(device) for means in state["means"]]
        self.dev = [
            {"input_ids": torch.tensor(tokens, dtype=torch.int64), "label": 0, "task_id": task}
            for tokens, task in zip(state["tokens"], state["tasks"], strict=True)
        ]


def most_confident(log_probabilities: Tensor) -> Tensor:
    """The module (examples,) with the highest probability of a label.

    Args:
        log_probabilities: of each module (modules, examples, labels), −inf for labels that are not its own.
    """
    return log_probabilities.amax(-1).argmax(0)


def least_entropy(log_probabilities: Tensor) -> Tensor:
    """The module (examples,) with the lowest entropy, as a share of the highest that its number of labels allows.

    Args:
        log_probabilities: of each module (modules, examples, labels), −inf for labels that are not its own.
    """
    entropy = torch.special.entr(log_probabilities.exp()).sum(-1)
    labels = log_probabilities.isfinite().sum(-1)
    share: Tensor = entropy / labels.log().clamp(min=1e-6)
    return share.argmin(0)


def nearest_class_mean(features: Tensor, means: Sequence[Tensor]) -> Tensor:
    """The task (examples,) of the class whose mean is nearest, by Euclidean distance.

    Args:
        features: (examples, features).
        means: of each task's classes (classes, features).
    """
    nearest = [(features[:, None] - own).square().sum(-1).amin(1) for own in means]
    return torch.stack(nearest).argmin(0)


def pretrained_features(learner: Learner, model: PeftModel, batch: Batch) -> Tensor:
    """What the output layer would read (examples, features), were there no modules."""
    with model.disable_adapter():
        return learner.logits_and_features(batch)[1]


def class_means(learner: Learner, model: PeftModel, task: TaskData) -> Tensor:
    """The mean pretrained features (labels, features) of each of the task's labels that has training examples."""
    columns = torch.tensor(task.columns, device=learner.device)

    def means(batches: Iterable[list[int]]) -> Tensor:
        sums, counts = torch.zeros(1, device=learner.device), torch.zeros(1, device=learner.device)
        for numbers in batches:
            batch = learner.collate([task.train[i] for i in numbers])
            member = (batch["labels"] == columns[:, None]).float()
            sums = sums + member @ pretrained_features(learner, model, batch)
            counts = counts + member.sum(1, keepdim=True)
        return (sums / counts)[counts[:, 0] > 0]  # a label may have no example

    return in_passes(learner, task.train, means)


def _log_probabilities(learner: Learner, model: PeftModel, batch: Batch, task: int) -> Tensor:
    use_module(model, module_name(task, learner.tasks))
    return learner.mask(learner.logits(batch), torch.full_like(batch["task_ids"], task)).log_softmax(-1)
